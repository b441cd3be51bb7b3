"""Which models exist, where they come from, and which are installed and sound."""

from appliance.catalogue.catalogue import Catalogue
from appliance.catalogue.model import Model
from appliance.catalogue.shelf import Shelf, State

__all__ = ["Catalogue", "Model", "Shelf", "State"]
