"""Run by path: from here on, prepare.py and the rooms beside this can be imported.

They come from their source, never from a .pyc, which may be stale or planted; and from
here, never from a module of the same name that PYTHONPATH or a package brings.
"""

import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PLACES = {"prepare": HERE, "harness": HERE / ".claude", "review": HERE / ".claude"}


class FromSource(SourceFileLoader):
    """Compiles the source each time."""

    def get_code(self, fullname):
        """The code object of the module."""
        return self.source_to_code(self.get_data(self.path), self.path)


class Rooms:
    """Finds our own modules, and no others: asked before all other finders."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The spec of one of our modules, or None."""
        place = PLACES.get(name.split(".")[0])
        if place is None:
            return None
        path = place.joinpath(*name.split("."))
        if path.is_dir():
            room = ModuleSpec(name, None, is_package=True)
            room.submodule_search_locations = [str(path)]
            return room
        loader = FromSource(name, f"{path}.py")
        return spec_from_file_location(name, loader=loader)


sys.meta_path.insert(0, Rooms)
