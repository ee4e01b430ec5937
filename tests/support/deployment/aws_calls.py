"""The calls of AWS that the product's code makes, found in its source, and the permissions that they need."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import botocore.session
from botocore import xform_name

_SESSION: Final = botocore.session.get_session()
_SERVICES: Final = ("s3", "sqs", "ecs", "sns", "secretsmanager")
#: The methods that boto3 adds to its clients, by the operations that they call.
_ADDED: Final = {
    "upload_file": ("s3:put_object", "s3:abort_multipart_upload"),
    "upload_fileobj": ("s3:put_object", "s3:abort_multipart_upload"),
    "download_file": ("s3:get_object",),
    "download_fileobj": ("s3:get_object",),
    "generate_db_auth_token": ("rds:generate_db_auth_token",),
}
#: Operations with a permission of another name. Without s3:ListBucket, S3 answers 403 instead of 404 for an
#: object that does not exist; kms permissions are for buckets with a key.
_PERMISSIONS: Final = {
    "s3:get_object": ("s3:GetObject", "s3:ListBucket", "kms:Decrypt"),
    "s3:head_object": ("s3:GetObject", "s3:ListBucket", "kms:Decrypt"),
    "s3:list_objects_v2": ("s3:ListBucket",),
    "s3:put_object": ("s3:PutObject", "kms:GenerateDataKey"),
    "s3:delete_object": ("s3:DeleteObject",),
    "s3:delete_objects": ("s3:DeleteObject",),
    "s3:abort_multipart_upload": ("s3:AbortMultipartUpload", "kms:Decrypt"),
    "ecs:run_task": ("ecs:RunTask", "iam:PassRole"),
    "rds:generate_db_auth_token": ("rds-db:connect",),
}


def _operations() -> dict[str, tuple[str, str]]:
    """The services and operations by the names of the clients' methods."""
    found: dict[str, tuple[str, str]] = {}
    for service in _SERVICES:
        for operation in _SESSION.get_service_model(service).operation_names:
            found[xform_name(operation)] = (service, operation)
    return found


_OPERATIONS: Final = _operations()


def calls_in(folders: tuple[str, ...], root: Path) -> dict[str, set[str]]:
    """The calls of AWS by the place that makes them: `package/module.py:Class.function`."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "client" in source:
                for place, call in _calls(ast.parse(source), ""):
                    found.setdefault(f"{path.relative_to(root)}:{place}", set()).add(call)
    return found


def permissions_of(call: str) -> set[str]:
    """The permissions that a call needs."""
    if call in _PERMISSIONS:
        return set(_PERMISSIONS[call])
    service, operation = _OPERATIONS[call.partition(":")[2]]
    return {f"{service}:{operation}"}


def _calls(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inside = place
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not _is_nested(place):
            inside = f"{place}.{child.name}".lstrip(".")
        yield from ((place, call) for call in _called(child))
        yield from _calls(child, inside)


def _is_nested(place: str) -> bool:
    """Whether the place is a method or a function of a module, whose own functions are part of it."""
    return bool(place) and not place.rpartition(".")[2].lstrip("_")[:1].isupper()


def _called(node: ast.AST) -> Iterator[str]:
    """The calls of a client's method that is named here, called at once or passed on."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr not in {"get_paginator", "get_waiter"} or not isinstance(
            node.args[0], ast.Constant
        ):
            return
        name = str(node.args[0].value)
    elif isinstance(node, ast.Attribute) and "client" in ast.unparse(node.value).lower():
        name = node.attr
    else:
        return
    if name in _ADDED:
        yield from _ADDED[name]
    elif name in _OPERATIONS:
        yield f"{_OPERATIONS[name][0]}:{name}"
