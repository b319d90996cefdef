"""One run of one download over HTTP, from the first request to the published file.

Rules that hold here:

- what to ask, what a reply delivers, whether to try again and what the file is called is decided in :mod:`.rules`; this
  room carries it out, one opening request after the other;
- a plain request for the whole, in one stream, settles what ranged replies disagree about; once a run;
- sources are tried in turn, and what one has brought counts for the next only if it is proven to be the same.

Source:
    RFC 9110 sections 13.1.1 (If-Match), 14.2 and 15.5.17 (a range may be refused, and that says nothing of the file).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, final

import trio

from ..._context import logger
from ..._errors import (
    ChecksumMismatchError,
    DownloadTimeoutError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidNameError,
    StalledError,
    StorageError,
    TargetExistsError,
    TooLargeError,
    TransferError,
    UnusableReplyError,
)
from ..._options import Checksum, DownloadOptions
from ..._records import DownloadResult
from ..._status import DownloadPhase
from .._protocol import DownloadJob
from ..disk._hops import Hops
from ._asker import Asker, Source
from ._at_once import take_at_once
from ._errand import Errand
from ._finishing import finish, reuse
from ._receiving import Receiver
from ._target import Target
from .client._client import AnyClient
from .client._exchange import Exchange
from .rules._address import Address
from .rules._asking import FROM_THE_START, WHOLE, Ask
from .rules._believing import REFUSED_FOR_THE_RANGE, Delivery, believe
from .rules._board import NO_END
from .rules._budget import HostBudget
from .rules._framing import check_size
from .rules._head import ReplyHead
from .rules._naming import choose_name
from .rules._retrying import Patience

__all__ = ["transfer"]

# When more than this is held and a server sends all of it again, it is asked once more for the rest alone.
_WORTH_INSISTING_BYTES: Final = 16 * 1024 * 1024

# Replies in a row that bring nothing but knowledge: a name, a part that lies there, a validator.  There are not as many
# things to be learned; whoever gets here goes round in a circle.
_MOST_FRUITLESS: Final = 5

# Waits are drawn by chance, so that many clients of one server do not come back together.
_draw = random.random

# What no other source of the same file would help against.
_OUR_SIDE: Final = (StorageError, TargetExistsError, InvalidNameError, TooLargeError)


async def transfer(
    job: DownloadJob,
    addresses: Sequence[Address],
    *,
    options: DownloadOptions,
    directory: Path,
    client: AnyClient,
    budget: HostBudget,
    limiter: trio.CapacityLimiter,
    hops: Hops,
    accept: Callable[[ReplyHead], object] | None = None,
) -> DownloadResult:
    """Fetch the file that all *addresses* have into *directory*.

    Cancelling it closes the connections and keeps what can be gone on from, if ``options.resume`` says so.  If it is
    cancelled while the file gets its name, it returns all the same.

    Args:
        job: the run; its progress, rate limit and ``can_resume`` are used.
        addresses: the URL's, then those of its mirrors.
        options: the user's, all layers together.
        directory: absolute; made if it is missing.
        client: what to ask with.
        budget: how much is tried again at each origin, by all downloads together.
        limiter: counts the threads that touch files.
        hops: runs what is short, with others of its kind.
        accept: looks at the head of every reply that brings a file, before a name is taken for it; what it raises
            leaves this, unless it is a TransferError.

    Raises:
        TransferError: the file could not be had; the class says why.
    """
    # Of two that name an origin the first gives the credentials.
    named = {address.origin: address.basic for address in reversed(addresses)}
    errand = Errand(
        job=job,
        options=options,
        directory=directory,
        sources=tuple(map(Source, addresses)),
        asker=Asker(client, options, named, job.rate_limit),
        limiter=limiter,
        hops=hops,
        checksum=None if options.checksum is None else Checksum.parse(options.checksum),
        accept=accept,
    )
    async with contextlib.AsyncExitStack() as stack:
        target = Target(errand, stack)
        await target.prepare()
        return await _Run(errand, target, budget).fetch()


@final
class _Run:
    """The requests of one run, one after the other."""

    def __init__(self, errand: Errand, target: Target, budget: HostBudget) -> None:
        self._errand = errand
        self._options = errand.options
        self._progress = errand.job.progress
        self._target = target
        self._budget = budget
        self._receiver = Receiver(errand, target)
        # What is tried once with each source.
        self._is_plain = False
        self._insisted = False

    async def fetch(self) -> DownloadResult:
        """Fetch the file from the first source that has it."""
        failures: list[tuple[Source, TransferError]] = []
        for source in self._errand.sources:
            self._is_plain = self._insisted = False
            try:
                return await self._fetch_from(source)
            except _OUR_SIDE:
                raise
            except TransferError as exc:
                failures.append((source, exc))
                if source is not self._errand.sources[-1]:
                    logger.warning("%s; the next mirror is tried", exc)
        (_, first), *others = failures
        for source, other in others:
            first.add_note(f"mirror {source.address.shown}: {other}")
        raise first

    async def _fetch_from(self, source: Source) -> DownloadResult:
        patience = Patience(
            self._options.retries, self._options.retry_after_limit_s, high_water=self._target.proven_bytes
        )
        fruitless = 0
        while True:
            held_before = self._target.proven_bytes
            ask = self._next_ask(source)
            try:
                result = await self._attempt(source, ask)
            except TransferError as error:
                if await self._falls_back(error, ask, source):
                    logger.info("%s; one plain request settles it", error)
                    wait_s = _draw()
                else:
                    try:
                        patience, wait_s = patience.after(error, held_bytes=self._target.proven_bytes, draw=_draw())
                        self._charge(source, error, has_gained=self._target.proven_bytes > held_before)
                    except TransferError:
                        if not self._is_last_resort(error, ask):
                            raise
                        wait_s = _draw()
                    logger.info("%s; trying again in %.1f s", error, wait_s)
                await self._wait(wait_s)
                continue
            if result is not None:
                self._budget.note_success((source.final or source.address).origin)
                return result
            fruitless = 0 if self._target.proven_bytes > held_before else fruitless + 1
            if fruitless > _MOST_FRUITLESS:
                raise UnusableReplyError(
                    url=source.address.shown, problem="its replies lead nowhere", advice="try another source"
                )

    def _charge(self, source: Source, error: TransferError, *, has_gained: bool) -> None:
        """Count a failure against what may be tried again at one host."""
        origin = (source.final or source.address).origin
        if has_gained:
            self._budget.note_success(origin)
            return
        # The way from the beginning may lead elsewhere by now.
        source.final = None
        if isinstance(error, HttpStatusError) and error.retry_after_s is not None:
            # It says itself when it wants to be asked again, and that is heeded.
            return
        self._budget.note_failure(origin)
        if not self._budget.may_retry(origin):
            error.add_note(f"It was not tried again, since too much has failed at {origin.host} lately.")
            logger.warning("%s is not asked again now: too much has failed there lately", origin.host)
            raise error

    def _is_last_resort(self, error: TransferError, ask: Ask) -> bool:
        """Whether to ask plainly, since a server never answers when it is asked for a rest."""
        is_silent = isinstance(error, DownloadTimeoutError) and not isinstance(error, StalledError)
        if self._is_plain or not is_silent or not ask.start:
            return False
        self._is_plain = True
        return True

    async def _wait(self, seconds: float) -> None:
        self._progress.phase = DownloadPhase.RETRYING
        self._progress.retries += 1
        await trio.sleep(seconds)
        self._progress.phase = DownloadPhase.CONNECTING

    async def _falls_back(self, error: TransferError, ask: Ask, source: Source) -> bool:
        """Whether a plain request may settle *error*, once a source.  What is in doubt is dropped, also if not."""
        match error:
            case ChecksumMismatchError():
                await self._target.forget()
                may_settle = self._receiver.is_joined
            case TooLargeError():
                await self._target.forget()
                may_settle = False
            case IncompleteBodyError(is_malformed=True):
                await self._target.forget()
                may_settle = ask.is_ranged
            case UnusableReplyError(is_disagreement=True):
                # Also if it is asked plainly already: the next attempt would meet the same contradiction.  But what is
                # held of another source is not what this one contradicts.
                if source.version is not None or len(self._errand.sources) == 1:
                    await self._target.forget()
                may_settle = True
            case HttpStatusError() if ask.is_ranged and error.status in REFUSED_FOR_THE_RANGE:
                may_settle = True
                # Otherwise what is held is dropped when the answer to the plain request says so.
                if error.status == 416:
                    await self._target.forget()
            case _:
                return False
        if self._is_plain or not may_settle:
            return False
        self._is_plain = True
        return True

    def _next_ask(self, source: Source) -> Ask:
        held = self._target.held_of(source)
        if self._is_plain:
            return WHOLE
        if held is None or source.version is None:
            return FROM_THE_START if self._options.connections > 1 else WHOLE
        version, spans = held
        missing = spans.missing(NO_END if version.total is None else version.total)
        if not missing:
            # It is complete, and nothing will be asked for.
            return WHOLE
        (start, stop), *_ = missing
        return Ask(
            is_ranged=True,
            start=start,
            stop=None if stop == NO_END else stop,
            condition=source.version.validator,
            must_match=self._insisted
            and source.version.validator is not None
            and source.version.validator.kind == "etag",
        )

    async def _attempt(self, source: Source, ask: Ask) -> DownloadResult | None:
        """Send one request and take what it brings; None means that it brought some of it, and more is to be asked."""
        target = self._target
        if target.existing is not None:
            return await reuse(self._errand, target.existing)
        if not target.is_complete:
            result = await self._open(source, ask)
            if result is not None:
                return result
        return await finish(self._errand, target, self._receiver, source) if target.is_complete else None

    async def _open(self, source: Source, ask: Ask) -> DownloadResult | None:
        target = self._target
        asked_at = trio.current_time()
        async with self._errand.asker.ask(
            source, ask, min_rate_bytes_per_s=self._options.min_rate_bytes_per_s
        ) as exchange:
            round_trip_s = trio.current_time() - asked_at
            delivery, name = self._judge(exchange, source, ask)
            result = await take_at_once(self._errand, target, exchange, delivery, name)
            if result is not None:
                return result
            if not target.is_open and not await target.take(name, delivery, source):
                return None
            if not self._is_plain and (target.recognises(source, delivery) or self._insists(delivery)):
                return None
            await self._receiver.receive(
                exchange, delivery, source, round_trip_s=round_trip_s, may_split=not self._is_plain
            )
        return None

    def _judge(self, exchange: Exchange, source: Source, ask: Ask) -> tuple[Delivery, str]:
        head = exchange.head
        if self._errand.accept is not None and head.status // 100 == 2:
            self._errand.accept(head)
        name = self._target.name or choose_name(
            filename=None,
            disposition=head.first("content-disposition"),
            url=self._errand.job.url,
            final_url=head.address.url,
        )
        delivery = believe(
            head,
            ask,
            pinned=None if self._target.held_of(source) is None else source.version,
            names=[name],
            has_checksum=self._errand.checksum is not None,
            now=datetime.now(UTC),
        )
        check_size(head, delivery.version.total, max_bytes=self._options.max_bytes)
        return delivery, name

    def _insists(self, delivery: Delivery) -> bool:
        """Whether to ask once more for what is missing only, since much would come again of the very same version."""
        if delivery.is_new or not delivery.is_whole or self._insisted:
            return False
        validator = delivery.version.validator
        is_worth_it = self._target.proven_bytes > _WORTH_INSISTING_BYTES
        self._insisted = is_worth_it and validator is not None and validator.kind == "etag"
        return self._insisted
