"""`opinionwatch models keygen` and `sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal


def keygen(
    file: Annotated[Path, typer.Argument(help="Write the private key to this file, which must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Generate a key to sign bundles with, and print its public key for model.trusted_keys.

    Example: opinionwatch models keygen /etc/opinionwatch/signing.pem
    """
    from models.signing import new_key

    try:
        public = new_key(file)
    except OSError as error:
        raise Fatal(
            f"{file}: {error.strerror}", "give a path that can be written and does not exist", EXIT_USAGE
        ) from None
    Presenter(as_json).show({"private_key": str(file), "public_key": public}, [public])


def sign_bundle(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    key: Annotated[Path, typer.Option("--key", help="Sign with this private key from 'models keygen'.")],
    as_json: AsJson = False,
) -> None:
    """Sign a bundle, so that it may serve where model.trusted_keys holds the public key.

    Example: opinionwatch models sign my-bundle --key /etc/opinionwatch/signing.pem
    """
    from models.signing import sign
    from pipeline.cli.models.registry import refusing

    public = refusing(lambda: sign(bundle, key))
    Presenter(as_json).show({"bundle": str(bundle), "public_key": public}, [f"signed {bundle} by {public}"])
