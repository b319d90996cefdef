"""One figure over several files that never falls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_dlm._status import DownloadPhase
from trio_dlm.downloaders.ytdlp._progress import MediaProgress
from trio_dlm.downloaders.ytdlp._records import MediaInfo
from trio_dlm.downloaders.ytdlp._wire import FileProgress, Finished, LogLine, Plan, PlannedFormat, Processing, Record


def planned(*formats: PlannedFormat, duration_s: float | None = None) -> Plan:
    return Plan(info=MediaInfo(duration_s=duration_s), ext="mp4", formats=formats)


VIDEO = PlannedFormat(format_id="v", has_video=True, has_audio=False)
AUDIO = PlannedFormat(format_id="a", has_video=False, has_audio=True)


def file(name: str, status: str = "downloading", **fields: int) -> FileProgress:
    return FileProgress(file=name, status=status, format_id=name, **fields)


def test_phases_of_a_merged_item() -> None:
    progress = MediaProgress()
    phases = [progress.phase]
    for record in (
        planned(VIDEO, AUDIO),
        file("v", downloaded_bytes=1),
        file("a", downloaded_bytes=1),
        Processing("Merger", "started"),
        Processing("Merger", "finished"),
        Processing("FFmpegExtractAudio", "started"),
        Processing("MoveFiles", "started"),
        Finished((), MediaInfo()),
    ):
        progress.feed(record)
        phases.append(progress.phase)
    assert phases == [
        DownloadPhase.EXTRACTING,
        DownloadPhase.TRANSFERRING,
        DownloadPhase.VIDEO,
        DownloadPhase.AUDIO,
        DownloadPhase.MERGING,
        DownloadPhase.MERGING,
        DownloadPhase.PROCESSING,
        DownloadPhase.PROCESSING,
        DownloadPhase.VERIFYING,
    ]


def test_one_file_is_just_transferring() -> None:
    progress = MediaProgress()
    progress.feed(planned(VIDEO))
    progress.feed(file("v", downloaded_bytes=1))
    assert progress.phase is DownloadPhase.TRANSFERRING


def test_the_total_is_known_when_that_of_every_file_is() -> None:
    progress = MediaProgress()
    progress.feed(planned(VIDEO, AUDIO))
    progress.feed(file("v", downloaded_bytes=10, total_bytes=100))
    assert (progress.received_bytes, progress.total_bytes) == (10, None)
    progress.feed(file("v", "finished", total_bytes=100))
    assert (progress.received_bytes, progress.total_bytes) == (100, None)
    progress.feed(file("a", downloaded_bytes=1, total_bytes=10))
    assert (progress.received_bytes, progress.total_bytes) == (101, 110)


def test_fragments_count_where_bytes_do_not() -> None:
    progress = MediaProgress()
    progress.feed(planned(VIDEO))
    progress.feed(file("v", downloaded_bytes=1, fragment_index=5, fragment_count=10))
    assert (progress.fraction, progress.total_bytes) == (0.5, None)
    progress.feed(file("v", "finished"))
    assert (progress.fraction, progress.total_bytes) == (0.999, 1)


def test_what_is_there_already_counts() -> None:
    progress = MediaProgress()
    progress.feed(file("v", "finished"))
    assert (progress.received_bytes, progress.total_bytes) == (0, 0)


def test_sizes_weigh_the_files_then_rates_then_a_guess() -> None:
    def fraction_of_video(plan: Plan) -> float:
        progress = MediaProgress()
        progress.feed(plan)
        progress.feed(file("v", "finished", downloaded_bytes=1))
        return round(progress.fraction, 3)

    sized = [
        PlannedFormat(format_id=name, has_video=False, has_audio=True, size_bytes=size)
        for name, size in (("v", 3), ("a", 1))
    ]
    rated = [
        PlannedFormat(format_id=name, has_video=False, has_audio=True, bitrate_bits_per_s=rate)
        for name, rate in (("v", 300.0), ("a", 100.0))
    ]
    assert fraction_of_video(planned(*sized)) == 0.75
    assert fraction_of_video(planned(*rated, duration_s=9)) == 0.75
    assert fraction_of_video(planned(VIDEO, AUDIO)) == 0.909


NUMBERS = st.none() | st.integers(0, 1000)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        FileProgress,
        file=st.sampled_from("abc"),
        status=st.sampled_from(["downloading", "finished", "error"]),
        format_id=st.none() | st.sampled_from("va"),
        downloaded_bytes=NUMBERS,
        total_bytes=NUMBERS,
        fragment_index=NUMBERS,
        fragment_count=NUMBERS,
    ),
    st.builds(
        Processing, st.sampled_from(["Merger", "FixupM3u8", "MoveFiles"]), st.sampled_from(["started", "finished"])
    ),
    st.just(planned(VIDEO, AUDIO)),
    st.just(planned(VIDEO)),
    st.just(LogLine("info", "hello")),
)


@given(st.lists(RECORDS, max_size=30))
def test_nothing_falls_and_nothing_is_complete_before_the_last_word(records: list[Record]) -> None:
    progress = MediaProgress()
    received, fraction = 0, 0.0
    for record in records:
        progress.feed(record)
        assert progress.received_bytes >= received
        assert fraction <= progress.fraction < 1
        assert progress.total_bytes is None or progress.total_bytes >= progress.received_bytes
        received, fraction = progress.received_bytes, progress.fraction
    progress.feed(Finished((), MediaInfo()))
    assert progress.fraction == 1
