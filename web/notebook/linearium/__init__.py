"""Linearium in a notebook: what a recurrent language model remembers, as a picture and as NumPy arrays.

>>> import linearium
>>> lab = linearium.Lab(model="mamba2-passkey-t128", context=1024)
>>> lab                                  # as the last line of a cell: shows it
>>> lab.context = 4096                   # in another cell: the picture follows
>>> result = await lab.result()          # ... and these are its numbers
>>> result.arrays["decay"]
"""

from .results import Result
from .settings import Setting, exhibits
from .widget import Exhibit, Lab, LineariumError, LineariumWarning

__version__ = "0.1.0"

__all__ = [
    "Exhibit",
    "Lab",
    "LineariumError",
    "LineariumWarning",
    "Result",
    "Setting",
    "exhibits",
]
