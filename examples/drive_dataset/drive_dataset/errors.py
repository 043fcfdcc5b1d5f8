"""What can be wrong with a recording, a data set or the place they are written to.

Guarantees: every failure that a stage foresees is one of these; each has a code that never changes its meaning, a sentence for people,
and the recording it is about, if it is about one.
"""

from __future__ import annotations

BAD_RECORD_EXIT_CODE = 65  # EX_DATAERR of sysexits.h: the same input fails again
REFUSED_EXIT_CODE = 1
NO_SPACE_EXIT_CODE = 74  # EX_IOERR: worth another try elsewhere


class DriveError(Exception):
    """The root of the tree. `code` is for programs, `message` for people."""

    code = "drive_error"
    exit_code = REFUSED_EXIT_CODE

    def __init__(self, message: str, *, record: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.record = record

    def document(self) -> dict[str, str | None]:
        return {"code": self.code, "message": self.message, "record": self.record}


class BadRecord(DriveError):
    """This recording cannot be used; others can."""

    code = "bad_record"
    exit_code = BAD_RECORD_EXIT_CODE


class NotARecording(BadRecord):
    code = "not_a_recording"


class EmptyFile(BadRecord):
    code = "empty_file"


class SparseFile(BadRecord):
    """Most of the file was never written: what it claims to hold is not there."""

    code = "sparse_file"


class Bomb(BadRecord):
    """It would unpack to far more than it is."""

    code = "bomb"


class Archive(BadRecord):
    """An honest archive. What is in it has to be unpacked before it is registered."""

    code = "archive"


class Damaged(BadRecord):
    """Nothing usable can be read from it."""

    code = "damaged"


class NoDescription(BadRecord):
    """What describes the data (a DBC, a sensor's metadata) is not beside it."""

    code = "no_description"


class DescriptionMismatch(BadRecord):
    """There is a description, of another vehicle or sensor."""

    code = "description_mismatch"


class NoKeyFrames(BadRecord):
    code = "no_key_frames"


class IdentityConflict(BadRecord):
    """Two different recordings claim to be the same drive of the same device."""

    code = "identity_conflict"


class ClocksApart(BadRecord):
    """Its clocks disagree by more than any drift: no order of events can be had from them."""

    code = "clocks_apart"


class ForeignRecording(BadRecord):
    """It was recorded outside the jurisdiction that it was brought to."""

    code = "foreign_recording"


class NothingUsable(BadRecord):
    """It was read, and after repair nothing was left."""

    code = "nothing_usable"


class TooLarge(BadRecord):
    """Reading it takes more memory than a stage has."""

    code = "too_large"


class Unforeseen(BadRecord):
    """A failure that no stage foresaw, kept to the recording that it came from. Its trace is on standard error."""

    code = "unforeseen"


class NoSpace(DriveError):
    """The disk is full. Nothing of what was being written is left."""

    code = "no_space"
    exit_code = NO_SPACE_EXIT_CODE


class Leak(DriveError):
    """A drive, place or time is both in what is trained on and in what is tested with."""

    code = "leak"


class GateClosed(DriveError):
    """The data set is not what it has to be, so it is not published."""

    code = "gate_closed"
