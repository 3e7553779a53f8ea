"""Revoke a composition, and replay its dead letters."""

from __future__ import annotations

from stem_amqp.control import revoke_matching
from stem_amqp.dead_letter import Application, replay_composition
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeKeywords


class Operations:
    """Revokes compositions, and replays their dead letters.

    Args:
        app: the application, connected.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def revoke(self, composition: str, options: RevokeKeywords) -> Issued:
        """Revoke all tasks of a composition; see `stem_amqp.control.revoke.revoke_matching`.

        Args:
            composition: the id of the composition.
            options: the options of the revocation.
        """
        app = self._app
        return await revoke_matching(
            app.blueprint, app.connected, composition=composition, **options
        )

    async def replay(self, composition: str) -> int:
        """Replay the dead letters of a composition, and return the number of replayed ones.

        Args:
            composition: the id of the composition.
        """
        return (await replay_composition(self._app, composition)).replayed
