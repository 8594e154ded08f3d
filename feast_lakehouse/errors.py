"""The errors of this package; the class of an error says who has to act."""


class LakehouseError(Exception):
    """Root of every error raised on purpose by feast_lakehouse."""


class DataError(LakehouseError):
    """Data, definition or request is broken: trying again gives the same answer, so nobody retries."""


class TransportError(LakehouseError):
    """Storage or Redis could not be reached or did not answer in time: trying again can help."""


class TableMissing(DataError):
    """There is no Delta table at the address."""


class VersionUnavailable(DataError):
    """The log or the files of a table version are gone, for example after log cleanup or vacuum."""


class StaleInputs(DataError):
    """The inputs of a publish moved while it was computed; a newer computation must publish instead."""


class OnlineMismatch(DataError):
    """The online store does not hold what its record says it holds."""


class Unfinished(OnlineMismatch):
    """A run of the view was begun and has not finished: it died, or is at work."""


class LostClaim(TransportError):
    """Another run of the same view took over; this one stopped without a further write."""
