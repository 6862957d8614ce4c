using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs health SNAPSHOT [PATH]`: what of a path was verified, and when.</summary>
internal static class HealthVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> snapshot = new("snapshot") { Description = "Which snapshot, as for `tdfs ls`" };
        Argument<string?> path = new("path") { Description = "The folder or file", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new(
            "health",
            "Says what of a path was verified, and when",
            "tdfs health latest",
            "tdfs health photos@latest 2026 --json")
        {
            snapshot, path,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                HealthInfo info = await store.Volumes.HealthAsync(run.Get(snapshot), VerbRun.ParsePath(run.Get(path)), progress, cancel).ConfigureAwait(false);
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
                        json.WriteNumber("survives", info.Survives);
                        json.WriteNumber("places", info.PlaceCount);
                        json.WriteNumber("wanted", info.Wanted);
                        json.WriteString("verified", info.VerifiedNs is long ns ? Show.IsoTime(ns) : null);
                        Report.WriteList(json, "lostPaths", info.LostPaths);
                    },
                    text =>
                    {
                        text.WriteLine(info.LostBlockCount > 0
                            ? "Some of it is lost: fewer fragments are there than it takes to read."
                            : $"It survives the loss of {Places(info.Survives, info.PlaceCount)}; asked for {(info.Wanted == 1 ? "is" : "are")} {info.Wanted}.");
                        if (info.WeakBlockCount > 0)
                        {
                            text.WriteLine($"{Show.Count(info.WeakBlockCount, "block")} {(info.WeakBlockCount == 1 ? "survives" : "survive")} less than is asked for; `tdfs repair` mends and moves what it can.");
                        }

                        text.WriteLine($"{Show.Count(info.FileCount, "file")}, {Show.Count(info.BlockCount, "block")}: {Show.Count(info.HealthyBlockCount)} whole, {Show.Count(info.DegradedBlockCount)} held by parity, {Show.Count(info.LostBlockCount)} lost");
                        text.WriteLine(info.VerifiedNs is long ns ? $"verified {Show.Time(ns, run.Output.Zone)} or later" : "not all of it was ever verified; `tdfs check --read-all` does that");
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

    /// <summary>"any 2 of 3 places".</summary>
    internal static string Places(int survive, int places) =>
        survive <= 0 ? $"none of {Show.Count(places, "place")}" : $"any {survive} of {Show.Count(places, "place")}";
}
