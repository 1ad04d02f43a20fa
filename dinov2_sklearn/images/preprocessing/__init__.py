"""What a checkpoint wants images to be: their size, their crop and the range of their values."""

from ._preprocessing import Preprocessing

__all__ = ["Preprocessing"]
