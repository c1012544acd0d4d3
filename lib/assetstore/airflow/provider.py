"""What Airflow is told about this package: that it is there, and its settings.

Airflow reads it while it loads, for ``airflow config list``, the configuration page and the
defaults of ``[assetstore]``.

Rule: imports nothing of Airflow.
"""

from __future__ import annotations

from typing import Any

#: The section of Airflow's configuration.
SECTION = "assetstore"

#: Less than the 5 s that Airflow gives its API server ([workers] execution_api_timeout): so a task
#: hears why, and not that nobody answered.
DEFAULT_TIMEOUT_S = 3.0


def get_provider_info() -> dict[str, Any]:
    """The metadata of the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "assetstore",
        "name": "assetstore",
        "description": "Airflow's asset state store on a durable key/value store of this host.",
        "config": {
            SECTION: {
                "description": "The daemon that holds the stores of assets.",
                "options": {
                    "socket": {
                        "description": (
                            "The daemon's socket. Empty: $ASSETSTORE_SOCKET, else "
                            "$XDG_RUNTIME_DIR/assetstore/assetstored.sock if it exists, else "
                            "/run/assetstore/assetstored.sock."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/run/assetstore/assetstored.sock",
                        "default": "",
                    },
                    "timeout": {
                        "description": (
                            "How many seconds a call may take, tries again included. Keep it "
                            "below [workers] execution_api_timeout."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": str(DEFAULT_TIMEOUT_S),
                    },
                },
            }
        },
    }
