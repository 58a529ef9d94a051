"""Loss landscapes as spin glasses: the library that the book's chapters call.

Four rooms, each importing only from itself and the rooms before it:
``glasses`` (spin-glass models), ``networks`` (what gets trained), ``landscape`` (probes) and
``companion`` (what makes it a book).
Importing this package alone is cheap: it does not import torch.
"""

__version__ = "0.1.0"
