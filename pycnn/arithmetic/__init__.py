"""The arithmetic of nets: what each layer costs and sees, the ledger of all nets, and pictures that compare them."""

from .summary import Row, Summary, image_size, summary
from .table import render

__all__ = ["Row", "Summary", "image_size", "render", "summary"]
