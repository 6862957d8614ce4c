using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs cat SNAPSHOT PATH`: a file's bytes on stdout, and nothing else.</summary>
internal static class CatVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> snapshot = new("snapshot") { Description = "Which snapshot, as for `tdfs ls`" };
        Argument<string> path = new("path") { Description = "The file, as `tdfs ls` prints it" };
        Verb verb = new(
            "cat",
            "Writes a file of a snapshot to stdout",
            "tdfs cat latest notes.txt",
            "tdfs cat host:/etc@2026-11-20 passwd | diff - /etc/passwd")
        {
            snapshot, path,
        };
        verb.Does(context, async (run, cancel) =>
        {
            if (run.Output.IsJson)
            {
                throw new UserError(ExitCode.Usage, "found --json with cat, expected none: cat writes the file's bytes");
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                await store.Volumes.CatAsync(run.Get(snapshot), VerbRun.ParsePath(run.Get(path)), run.Output.DataBytes, cancel).ConfigureAwait(false);
                await run.Output.DataBytes.FlushAsync(cancel).ConfigureAwait(false);
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
