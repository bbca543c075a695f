"""The one logger of the package, named ``monitor_core``."""

import logging

logger = logging.getLogger("monitor_core")
