"""The address book over the local API: `book`, `book-add`, `book-rename`, `book-remove`.

Decides what the documents say. Refuses to know where names are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from node.api_json import to_json
from node.api_params import Params

if TYPE_CHECKING:
    from node.node_book import AddressBook

Document = dict[str, Any]


class BookCommands:
    """The commands about names."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book

    @property
    def calls(self) -> dict[str, Callable[[Params], Awaitable[Document]]]:
        """By name."""
        return {
            "book": self._list,
            "book-add": self._add,
            "book-rename": self._rename,
            "book-remove": self._remove,
        }

    async def _list(self, params: Params) -> Document:
        params.done()
        return {"entries": to_json(self._book.entries)}

    async def _add(self, params: Params) -> Document:
        name, peer, note = params.text("name"), params.text("peer"), params.text_or_none("note")
        params.done()
        return {"entry": to_json(self._book.add(name, peer, note or ""))}

    async def _rename(self, params: Params) -> Document:
        name, new = params.text("name"), params.text("new_name")
        params.done()
        return {"entry": to_json(self._book.rename(name, new))}

    async def _remove(self, params: Params) -> Document:
        name = params.text("name")
        params.done()
        return {"entry": to_json(self._book.remove(name))}
