"""Pictures of any room's results: figures in files, palettes, contact sheets."""

from ._contact_sheet import contact_sheet
from ._figures import SavableFigureMixin, check_extension

__all__ = ["SavableFigureMixin", "check_extension", "contact_sheet"]
