"""The runners of the folders, as modules for their tests: all of them are called run.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_runner(folder: Path) -> ModuleType:
    """folder/run.py, loaded anew."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_run", folder / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
