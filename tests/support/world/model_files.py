"""Directories that hold the files of a model, though no network: what is known by its content alone."""

from pathlib import Path

from monitor.scoring.files import fingerprint


def make_files(directory: Path, weights: str) -> str:
    """Write a directory with those weights, and return its version."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": weights}.items():
        (directory / name).write_text(content, encoding="utf-8")
    return fingerprint(directory)
