using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs;

/// <summary>Turns whatever ends a verb into one line "tdfs: …" and an exit code. A stack trace is shown only with TDFS_DEBUG=1.</summary>
internal static class ErrorHandler
{
    internal static (ExitCode Code, string Message) Explain(Exception error) => error switch
    {
        UserError user => (user.Code, user.Message),
        OperationCanceledException => (ExitCode.Interrupted, "interrupted; what was acknowledged is kept, and the same command continues from there"),
        StoreException { InnerException: DiskException cause } => Explain(cause),
        StoreException store => (CodeOf(store.Problem), store.Message),
        DiskException { Failure: DiskFailure.Full } disk => (ExitCode.DiskFull, disk.Message + "; nothing acknowledged is lost, make space and run it again"),
        DiskException { Failure: DiskFailure.ReadOnly } disk => (ExitCode.DiskFailed, disk.Message + "; reading verbs work on a read-only store, writing ones need it writable"),
        DiskException { Failure: DiskFailure.Denied } disk => (ExitCode.DiskFailed, disk.Message + "; run as the store's owner or change its permissions"),
        DiskException { Failure: DiskFailure.Unreachable } peer => (ExitCode.Peer, peer.Message + "; what was acknowledged is kept, try again when it answers"),
        DiskException disk => (ExitCode.DiskFailed, disk.Message),
        PeerException peer => (ExitCode.Peer, peer.Message),
        DamagedFormatException or DamagedBlockException => (ExitCode.Damaged, error.Message + "; `tdfs check` says what is damaged, `tdfs repair` mends what parity can"),
        AggregateException { InnerExceptions.Count: > 0 } many => Explain(Worst(many.Flatten())),
        IOException full when DiskSpace.IsFull(full) => (ExitCode.DiskFull, full.Message + "; what was acknowledged or restored stays, make space and run it again"),
        UnauthorizedAccessException or IOException => (ExitCode.DiskFailed, error.Message),
        OutOfMemoryException => (ExitCode.Internal, "out of memory; lower [memory] in storage.toml or [import] workers"),
        DllNotFoundException => (ExitCode.Internal, error.Message.Split('\n')[0] + "; tools/setup installs the libraries tdfs needs"),
        _ => (ExitCode.Internal, $"a mistake in tdfs: {error.GetType().Name}: {error.Message}; TDFS_DEBUG=1 shows where, please report it"),
    };

    internal static int Report(Exception error, TextWriter talk, bool isDebug)
    {
        (ExitCode code, string message) = Explain(error);
        talk.WriteLine("tdfs: " + TerminalText.Clean(message));
        if (isDebug)
        {
            talk.WriteLine(error);
        }

        talk.Flush();
        return (int)code;
    }

    private static ExitCode CodeOf(StoreProblem problem) => problem switch
    {
        StoreProblem.NotAStore => ExitCode.NoStore,
        StoreProblem.Locked => ExitCode.Locked,
        StoreProblem.CatalogLost => ExitCode.Damaged,
        StoreProblem.Redundancy => ExitCode.Config,
        StoreProblem.Retired or StoreProblem.KeysMissing => ExitCode.Keys,
        _ => ExitCode.DiskFailed,
    };

    /// <summary>Of several failures the one to tell: any before a cancellation, which the first failure tends to cause in the others.</summary>
    private static Exception Worst(AggregateException many) =>
        many.InnerExceptions.FirstOrDefault(e => e is not OperationCanceledException) ?? many.InnerExceptions[0];
}
