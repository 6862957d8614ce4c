using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs health PATH` or `tdfs health SNAPSHOT [PATH]`: how many lost places it survives, by what the holders have.</summary>
internal static class HealthVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> snapshot = new("snapshot") { Description = "Which snapshot, as for `tdfs ls`, or a path of this machine: its newest snapshot", Arity = ArgumentArity.ZeroOrOne };
        Argument<string?> path = new("path") { Description = "The folder or file in the snapshot", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> readAll = new("--read-all") { Description = "Read every byte of the fragments, instead of the holders' records of them" };
        Verb verb = new(
            "health",
            "Says how many lost places a path survives, by the fragments that the holders have",
            "tdfs health /home/me/photos",
            "tdfs health latest",
            "tdfs health photos@latest 2026 --json")
        {
            snapshot, path, readAll,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                string named = run.Get(snapshot) ?? "latest";
                byte[] below = VerbRun.ParsePath(run.Get(path));
                if (IsLocal(named) && run.Get(path) is null)
                {
                    (named, below) = await store.Volumes.WhereIsAsync(Path.GetFullPath(named), cancel).ConfigureAwait(false);
                }

                HealthInfo info = await store.Volumes.HealthAsync(named, below, run.Get(readAll), progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("files", info.FileCount);
                        json.WriteNumber("blocks", info.BlockCount);
                        json.WriteNumber("healthyBlocks", info.HealthyBlockCount);
                        json.WriteNumber("degradedBlocks", info.DegradedBlockCount);
                        json.WriteNumber("lostBlocks", info.LostBlockCount);
                        json.WriteNumber("weakBlocks", info.WeakBlockCount);
                        json.WriteNumber("freedBlocks", info.FreedBlockCount);
                        json.WriteNumber("survives", info.Survives);
                        json.WriteNumber("places", info.PlaceCount);
                        json.WriteNumber("wanted", info.Wanted);
                        json.WriteString("verified", info.VerifiedNs is long ns ? Show.IsoTime(ns) : null);
                        Report.WriteEvidence(json, info.Evidence);
                        Report.WriteList(json, "lostPaths", info.LostPaths);
                    },
                    text =>
                    {
                        text.WriteLine(info.LostBlockCount > 0
                            ? "Some of it is lost: fewer fragments are there than it takes to read."
                            : $"It survives the loss of {Places(info.Survives, info.PlaceCount)}; {info.Wanted} {(info.Wanted == 1 ? "is" : "are")} asked for.");
                        if (info.WeakBlockCount > 0)
                        {
                            text.WriteLine($"{Show.Count(info.WeakBlockCount, "block")} {(info.WeakBlockCount == 1 ? "survives" : "survive")} less than is asked for; `tdfs repair` mends and moves what it can.");
                        }

                        text.WriteLine($"{Show.Count(info.FileCount, "file")}, {Show.Count(info.BlockCount, "block")}: {Show.Count(info.HealthyBlockCount)} whole, {Show.Count(info.DegradedBlockCount)} held by parity, {Show.Count(info.LostBlockCount)} lost");
                        if (info.FreedBlockCount > 0)
                        {
                            text.WriteLine($"{Show.Count(info.FreedBlockCount, "block")} {(info.FreedBlockCount == 1 ? "is" : "are")} freed here: on other machines alone, fetched when read.");
                        }

                        text.WriteLine(info.VerifiedNs is not null ? "Every byte of the fragments was read."
                            : info.Evidence.PeerCount == 0 ? "By the holders' records; --read-all reads every byte."
                            : $"By the holders' records: {Report.Evidence(info.Evidence, run.Output.Clock)}; --read-all reads every byte.");
                        foreach (string lost in info.LostPaths)
                        {
                            text.WriteLine("lost: " + lost);
                        }
                    });
                return info.LostBlockCount > 0 ? ExitCode.Damaged : ExitCode.Ok;
            }
        });
        return verb;
    }

    /// <summary>What looks like a path of this machine. A label that does so is named as VOLUME@LABEL.</summary>
    internal static bool IsLocal(string text) => text is "." or ".." || (text.Contains('/', StringComparison.Ordinal) && !text.Contains('@', StringComparison.Ordinal));

    /// <summary>"any 2 of 3 places".</summary>
    internal static string Places(int survive, int places) =>
        survive <= 0 ? $"none of {Show.Count(places, "place")}" : $"any {survive} of {Show.Count(places, "place")}";
}
