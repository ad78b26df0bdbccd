"""Settings of a release."""

from pathlib import Path

from pydantic import Field

from pd.config.base import Section


class ReleaseSettings(Section):
    """How a release is handed over: nothing of what is in it depends on this section."""

    signing_key: Path = Field(
        description="SSH private key that signs SHA256SUMS (`ssh-keygen -Y sign`); without a passphrase, or held by ssh-agent"
    )
