"""Pure: a request whose body goes upstream as it came, but for the name of the model and the gateway's own fields.

In: a body. Out: the `DialectRequest` that all dialects share, and the steps of its check; a dialect adds what it acts
on. Only the fields that the gateway acts on are checked. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.extension import GATEWAY_FIELDS, ExtendedRequest, Gateway, Short
from gateway.dialects.request_body import KEPT_WHOLE_BYTES, Content, LongContent, RequestBody
from gateway.dialects.request_fields import invalid_field, place_of_model
from gateway.errors import InvalidParameter
from gateway.wire.json_members import Buffer

NOT_SENT = frozenset(GATEWAY_FIELDS)


class RelayedFields(BaseModel):
    """The fields that the gateway acts on in every dialect."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    model: Annotated[StrictStr, Field(min_length=1)] | None = None
    stream: StrictBool | None = None
    gateway: Annotated[Gateway, Short] | None = None
    routing: Annotated[dict[str, Any], Short] | None = None


_Fields = TypeVar("_Fields", bound=RelayedFields)


@dataclass(slots=True)  # not frozen: that would take 90 more bytecodes for each request
class RelayedRequest(ExtendedRequest):
    """A checked request. `source`: the body with the model's public id and the gateway's own fields still in it."""

    streamed: bool
    max_tokens: int | None  # the limit of each alternative
    prompt_tokens: int
    source: RequestBody
    is_extended: bool  # the body holds fields that do not go upstream

    @property
    def body(self) -> dict[str, Any]:
        """The value of what goes upstream; of a long body, what its outline holds of it."""
        return self.source.document

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream; in most dialects every stream tells it anyway."""
        return False

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens; `unlimited` if the request sets no limit."""
        return self.max_tokens or unlimited

    def estimate_prompt_tokens(self) -> int:
        """The tokens of everything that goes upstream."""
        return self.prompt_tokens

    def length_tells_tokens(self) -> bool:
        """Whether the number of tokens follows from the length of a whole answer."""
        return True

    def look_for_drops(self, changes: BodyChanges) -> Iterator[None]:
        """Look in short steps for what is dropped from a long body, so that `upstream_body` takes no time for it."""
        return self.source.look_for_drops(changes)

    def upstream_body(
        self,
        model: str,
        *,
        streamed: bool,
        include_usage: bool,
        takes_models: bool = False,
        changes: BodyChanges | None = None,
    ) -> Content:
        """The body as it came, without the gateway's own fields, and with the upstream's name of the model.

        `changes` are made last; the other parameters are for dialects that have a field for them.
        """
        source, place = self.source, None
        if not (self.is_extended or changes is not None or streamed is not self.streamed):
            place = place_of_model(source)
        if place is not None:
            return with_model(source, place, model)
        own: dict[str, bytes | None] = dict.fromkeys(self.not_sent())
        own["model"] = orjson.dumps(model)
        if streamed:
            own["stream"] = b"true"
        return source.exchange(own) if changes is None else source.rewrite(own, changes)

    def not_sent(self) -> Collection[str]:
        """The members of the body that do not go upstream."""
        return NOT_SENT

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        """The fields of the client that do not go upstream, although the gateway does not act on them either."""
        return []

    def release(self) -> None:
        """Let go of the body: no further upstream will be asked."""
        self.source.release()


def with_model(source: RequestBody, place: tuple[int, int], model: str, before: bytes = b"{") -> Content:
    """The body with another model at this place, and `before` in place of its opening brace."""
    content, (start, end) = source.content, place
    opening = content.index(b"{") + 1
    if len(content) <= KEPT_WHOLE_BYTES:
        return before + content[opening:start] + orjson.dumps(model) + content[end:]
    return LongContent(source, [before, (opening, start), orjson.dumps(model), (end, len(content))])


def read_source(content: Buffer | RequestBody, acted_on: Collection[str]) -> RequestBody:
    """The body, whose members `acted_on` are short enough to be looked at. Raises `ClientError`."""
    if not isinstance(content, RequestBody):
        return RequestBody.read(content)
    if (name := content.long_member(acted_on)) is not None:
        raise InvalidParameter(f"{name}: is too long", param=name)
    return content


def checked_fields(kind: type[_Fields], document: dict[str, Any]) -> _Fields:
    """The fields of a body. Raises `InvalidParameter` that names the first one at fault."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise invalid_field(error) from None


def without_own_fields(source: RequestBody) -> bool:
    """Take the gateway's own fields out of the value of a body; returns whether it had any."""
    document = source.document
    if NOT_SENT.isdisjoint(document):
        return False
    source.document = {name: value for name, value in document.items() if name not in NOT_SENT}
    return True


def check_list_of_objects(document: dict[str, Any], name: str) -> None:
    """Refuse a body whose member `name` is no list of objects; what they hold is the upstream's to judge.

    Raises `InvalidParameter`.
    """
    items = document.get(name)
    if type(items) is list and set(map(type, items)) == {dict}:
        return
    if name not in document:
        raise InvalidParameter(f"{name}: is required{_where_it_belongs(document)}", param=name)
    if not isinstance(items, list):
        raise InvalidParameter(f"{name}: Input should be a valid list", param=name)
    if not items:
        raise InvalidParameter(f"{name}: List should have at least 1 item after validation, not 0", param=name)
    index = next(index for index, item in enumerate(items) if not isinstance(item, dict))
    raise InvalidParameter(f"{name}[{index}]: Input should be a valid dictionary", param=f"{name}[{index}]")


def _where_it_belongs(document: dict[str, Any]) -> str:
    """Which path a body is for that has the main member of another dialect; "" if it has none."""
    paths = {"input": "/v1/responses", "prompt": "/v1/completions"}
    return next((f" (a body with `{name}` is for {path})" for name, path in paths.items() if name in document), "")
