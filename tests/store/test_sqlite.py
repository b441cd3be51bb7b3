"""What importing the store brings into the process."""

import subprocess
import sys


def test_the_store_does_not_bring_pandas_along() -> None:
    """It would cost the API process a second and 70 MiB; other code can still import it afterwards."""
    probe = "import sys, appliance.store; assert 'pandas' not in sys.modules; import pandas"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
