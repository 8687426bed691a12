"""Reading from a stream of the released client."""


def receive(stream, size):
    """Exactly as many bytes as were asked for, in however many pieces they come."""
    seen = b""
    while len(seen) < size:
        seen += stream.receive()
    return seen
