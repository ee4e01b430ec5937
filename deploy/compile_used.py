"""Import what the product uses, so that the image has the bytecode of these modules and of no others.

The root of a container is read-only, so each start would compile them again; compiling everything that is
installed would make the image 180 MB larger.
"""

import importlib
import pkgutil

_PACKAGES = ("db", "triggers", "monitor", "distill", "redistill")
_MODELS = ("Bert", "DistilBert", "Roberta")  # the usual classifiers; others are compiled as they are loaded
_LAZY = ("encodings.idna", "psycopg", "pyarrow.parquet", "scipy.stats", "uvicorn.protocols.http.h11_impl")

for _package in _PACKAGES:
    for _found in pkgutil.walk_packages(importlib.import_module(_package).__path__, f"{_package}."):
        if not _found.name.endswith(".__main__"):
            importlib.import_module(_found.name)
for _name in _LAZY:
    importlib.import_module(_name)
_transformers = importlib.import_module("transformers")
for _model in _MODELS:
    getattr(_transformers, f"{_model}ForSequenceClassification")
    getattr(_transformers, f"{_model}TokenizerFast")
