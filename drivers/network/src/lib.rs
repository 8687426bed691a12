//! Byte streams to network peers of a board.
