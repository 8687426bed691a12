"""Prints a protobuf schema as a list of facts that can be compared as text.

usage: dump_descriptors.py released   the schema inside the installed jumpstarter-protocol
       dump_descriptors.py stdin      the serialized FileDescriptorSet on standard input

Output: JSON object with "version" (of the package, null for stdin) and "facts" (sorted strings).
Only packages below `jumpstarter` count. Options that do not change the wire are not facts.
"""

import importlib
import importlib.metadata
import json
import pkgutil
import sys

from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto


def released_files():
    import jumpstarter_protocol

    found = pkgutil.walk_packages(jumpstarter_protocol.__path__, "jumpstarter_protocol.")
    for name in sorted(m.name for m in found if m.name.endswith("_pb2")):
        file = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(name).DESCRIPTOR.CopyToProto(file)
        yield file


def type_name(field):
    if field.type_name:
        return field.type_name.removeprefix(".")
    return Field.Type.Name(field.type).removeprefix("TYPE_").lower()


def field_fact(owner, message, field, maps):
    entry = maps.get(type_name(field))
    if entry is not None:
        parts = {f.number: type_name(f) for f in entry.field}
        kind = f"map<{parts[1]}, {parts[2]}>"
    elif field.label == Field.LABEL_REPEATED:
        kind = f"repeated {type_name(field)}"
    elif field.label == Field.LABEL_REQUIRED:
        kind = f"required {type_name(field)}"
    elif field.proto3_optional:
        kind = f"optional {type_name(field)}"
    else:
        kind = type_name(field)
    if field.HasField("oneof_index") and not field.proto3_optional:
        kind += f" in {message.oneof_decl[field.oneof_index].name}"
    if field.options.HasField("packed"):
        kind += f" packed={field.options.packed}"
    return f"field {owner}.{field.name} = {field.number}: {kind}, json {field.json_name}"


def enum_facts(scope, enum):
    name = f"{scope}.{enum.name}"
    yield f"enum {name}"
    for value in enum.value:
        yield f"value {name}.{value.name} = {value.number}"


def message_facts(scope, message):
    name = f"{scope}.{message.name}"
    yield f"message {name}"
    maps = {f"{name}.{n.name}": n for n in message.nested_type if n.options.map_entry}
    for field in message.field:
        yield field_fact(name, message, field, maps)
    for nested in message.nested_type:
        if not nested.options.map_entry:
            yield from message_facts(name, nested)
    for enum in message.enum_type:
        yield from enum_facts(name, enum)


def service_facts(scope, service):
    name = f"{scope}.{service.name}"
    yield f"service {name}"
    for rpc in service.method:
        request = "stream " * rpc.client_streaming + rpc.input_type.removeprefix(".")
        response = "stream " * rpc.server_streaming + rpc.output_type.removeprefix(".")
        yield f"rpc {name}.{rpc.name}({request}) returns ({response})"


def file_facts(file):
    yield f"file {file.name}: {file.syntax} package {file.package}"
    for message in file.message_type:
        yield from message_facts(file.package, message)
    for enum in file.enum_type:
        yield from enum_facts(file.package, enum)
    for service in file.service:
        yield from service_facts(file.package, service)


def main():
    if sys.argv[1:] == ["released"]:
        version = importlib.metadata.version("jumpstarter-protocol")
        files = released_files()
    elif sys.argv[1:] == ["stdin"]:
        version = None
        files = descriptor_pb2.FileDescriptorSet.FromString(sys.stdin.buffer.read()).file
    else:
        sys.exit(__doc__)
    ours = (f for f in files if f.package.split(".")[0] == "jumpstarter")
    facts = sorted(fact for file in ours for fact in file_facts(file))
    json.dump({"version": version, "facts": facts}, sys.stdout, indent=1)


main()
