"""Run by path: from here on, the modules beside this file can be imported.

They come from their source, never from a .pyc, which may be stale or planted; those of
the same name in the standard library and in site-packages come first.
"""

import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path

HARNESS = str(Path(__file__).resolve().parent)


class FromSource(SourceFileLoader):
    """Compiles the source each time."""

    def get_code(self, fullname):
        """The code object of the module."""
        return self.source_to_code(self.get_data(self.path), self.path)


sys.path_importer_cache[HARNESS] = FileFinder(HARNESS, (FromSource, [".py"]))
sys.path.append(HARNESS)
