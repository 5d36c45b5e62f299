"""Files of the package's own format, changed at will: for tests of what ``load`` refuses."""

import hashlib
import io
import json
import zipfile

import numpy as np


def parts_of(path):
    """Description and other members of a file."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    return json.loads(members.pop("schema.json")), members


def write(path, schema, members):
    """A file of our format with any content and a right checksum."""
    schema = schema if isinstance(schema, (str, bytes)) else json.dumps(schema)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in [*members.items(), ("schema.json", schema)]:
            file.writestr(zipfile.ZipInfo(name), data)
        file.comment = bytes(64)
    seal(path, stream.getvalue()[:-64])


def seal(path, data):
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


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
    return schema["content"]["content"][2]["content"]


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
    content = sequence("tuple", literal(kind), *arguments)
    return node("ConstructorFromReduceNode", name, content=content)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
