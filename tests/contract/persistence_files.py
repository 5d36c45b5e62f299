"""Files of the package's own format, changed at will: for tests of what ``load`` refuses."""

import hashlib
import io
import json
import zipfile

import numpy as np

HEADER = "header"


def parts_of(path):
    """Description and other members of a file; the header is one of them here."""
    data = path.read_bytes()[64:]
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    header, _, _ = data.partition(b"\n")
    return json.loads(members.pop("schema.json")), members | {HEADER: header}


def write(path, schema, members):
    """A file of our format with any content and a right checksum."""
    schema = schema if isinstance(schema, (str, bytes)) else json.dumps(schema)
    entries = [entry for entry in members.items() if entry[0] != HEADER]
    seal(path, members[HEADER], archive([*entries, ("schema.json", schema)]))


def archive(entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, data in entries:
            entry = zipfile.ZipInfo(name) if isinstance(name, str) else name
            file.writestr(entry, data, compression)
    return stream.getvalue()


def seal(path, header, data):
    data = header + b"\n" + data
    path.write_bytes(hashlib.sha256(data).hexdigest().encode() + data)


def change(path, edit=lambda schema: None, extra=None):
    """Write a file anew with another content and a right checksum."""
    schema, members = parts_of(path)
    edit(schema)
    write(path, schema, members | (extra or {}))


def nodes_of(node, loader=None):
    """All nodes of a description, of one kind if it is named."""
    if isinstance(node, list):
        for item in node:
            yield from nodes_of(item, loader)
    elif isinstance(node, dict):
        if "__loader__" in node and loader in (None, node["__loader__"]):
            yield node
        for item in node.values():
            yield from nodes_of(item, loader)


def state_of(schema):
    """State of the estimator at the root, one of this package: nodes by attribute."""
    return schema["content"][2]["content"]


def literal(value):
    text = json.dumps(value)
    return {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode"} | {
        "content": text
    }


def node(loader, name, **fields):
    module, _, last = name.rpartition(".")
    return {"__class__": last, "__module__": module, "__loader__": loader, **fields}


def sequence(loader, *items):
    return node(f"{loader.title()}Node", f"builtins.{loader}", content=list(items))


def mapping(**items):
    kinds = [node("TypeNode", "builtins.str") for _ in items]
    return node("DictNode", "builtins.dict", content=items, key_types=sequence("list", *kinds))


def a_part(kind, *arguments):
    name = "sklearn_ood.persistence._parts.Part"
    return node("TupleNode", name, content=[literal(kind), *arguments])


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
