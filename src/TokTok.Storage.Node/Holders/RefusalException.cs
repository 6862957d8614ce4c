namespace TokTok.Storage.Node.Holders;

/// <summary>A request is not granted: the status that says so, and a line for people.</summary>
/// <remarks>Format: docs/protocol.md 3.2.</remarks>
internal sealed class RefusalException : Exception
{
    internal RefusalException(int status, string message)
        : base(message) => Status = status;

    internal int Status { get; }

    /// <summary>The first byte of the body, where the status has a reason of its own.</summary>
    internal byte? Reason { get; init; }
}
