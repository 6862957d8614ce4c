using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs free PATH` or `tdfs free SNAPSHOT [PATH]`: content lies on other machines alone from then on, and is fetched when it is read.</summary>
internal static class FreeVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> snapshot = new("snapshot") { Description = "A snapshot of the volume, as for `tdfs ls`, or a path of this machine: its newest snapshot", Arity = ArgumentArity.ZeroOrOne };
        Argument<string?> path = new("path") { Description = "The folder or file in it", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> isList = new("--list") { Description = "Show what is freed here" };
        Option<bool> isOff = new("--off") { Description = "Keep it here again" };
        Option<bool> dryRun = new("--dry-run", "-n") { Description = "Only say what would be freed, or why not" };
        Verb verb = new(
            "free",
            "Gives back the space that a folder takes here, once it is safe on other machines; reads fetch it",
            "tdfs free /home/me/photos/2019      # in the volume's present and all its snapshots; the folder on the disk stays as it is",
            "tdfs free photos@latest 2019 --dry-run",
            "tdfs free --list",
            "tdfs free photos@latest 2019 --off  # kept here again")
        {
            snapshot, path, isList, isOff, dryRun,
        };
        verb.Does(context, async (run, cancel) =>
        {
            string? named = run.Get(snapshot);
            if (new[] { run.Get(isList), run.Get(isOff), run.Get(dryRun) }.Count(static option => option) > 1)
            {
                throw new UserError(ExitCode.Usage, "found several of --list, --off and --dry-run, expected one");
            }

            if (run.Get(isList) != named is null)
            {
                throw new UserError(ExitCode.Usage, named is null ? "found nothing to free, expected a path, or --list" : "found a path with --list, expected none");
            }

            if (named is { Length: 0 })
            {
                throw new UserError(ExitCode.Usage, "found an empty name, expected a snapshot or a path");
            }

            byte[] below = VerbRun.ParsePath(run.Get(path));
            IStoreSession store = await run.OpenAsync(named is null ? StoreAccess.Read : StoreAccess.WriteInTurns, cancel, asksNode: named is null).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                if (named is null)
                {
                    return List(run, store.Freed.List());
                }

                if (HealthVerb.IsLocal(named) && run.Get(path) is null)
                {
                    (named, below) = await store.Volumes.WhereIsAsync(run.FullPath(named), cancel).ConfigureAwait(false);
                }

                using ProgressWriter progress = run.Output.StartProgress();
                FreeResult result = run.Get(isOff)
                    ? await store.Freed.KeepAsync(named, below, progress, cancel).ConfigureAwait(false)
                    : await store.Freed.FreeAsync(named, below, run.Get(dryRun), progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteString("volume", result.Volume);
                        TerminalText.WriteName(json, "path", result.Path);
                        json.WriteBoolean("dryRun", run.Get(dryRun));
                        json.WriteNumber(run.Get(isOff) ? "returnedBytes" : "freedBytes", result.MovedBytes);
                        if (!run.Get(isOff))
                        {
                            json.WriteNumber("awayBytes", result.AwayBytes);
                            json.WriteNumber("sharedBytes", result.SharedBytes);
                            json.WriteNumber("othersBytes", result.OthersBytes);
                            json.WriteNumber("localBytes", result.LocalBytes);
                            json.WriteNumber("trashedBytes", result.TrashedBytes);
                        }

                        Report.WriteList(json, "problems", result.Problems);
                    },
                    text => Write(text, result, run.Get(isOff), run.Get(dryRun)));
                return Report.Problems(run.Output, result.Problems) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return verb;
    }

    private static void Write(TextWriter text, FreeResult result, bool isOff, bool isDry)
    {
        string what = TerminalText.Clean(result.Volume) + (result.Path.Length == 0 ? "" : ": " + TerminalText.Escape(result.Path));
        if (isOff)
        {
            text.WriteLine($"{what} is kept here again: {Show.Size(result.MovedBytes)} came back");
            return;
        }

        text.WriteLine($"{what} {(isDry ? "can be freed" : "is freed")}: {Show.Size(result.MovedBytes)} {(isDry ? "would go" : "went")} to other machines alone, {Show.Size(result.AwayBytes)} lay there before");
        if (isDry)
        {
            text.WriteLine($"about {Show.Size(result.LocalBytes)} would be given back here");
        }
        else if (result.MovedBytes > 0)
        {
            text.WriteLine($"here, nothing is given back yet: {Show.Size(result.TrashedBytes)} are in the trash for {Show.Count(result.TrashDays, "running day")}, then `tdfs reclaim` empties it"
                + (result.LocalBytes > result.TrashedBytes ? $"; about {Show.Size(result.LocalBytes - result.TrashedBytes)} lie beside what stays, and `tdfs reclaim` takes them apart" : ""));
        }

        if (result.SharedBytes > 0)
        {
            text.WriteLine($"{Show.Size(result.SharedBytes)} of it stay here: other folders or volumes want them too");
        }

        if (result.OthersBytes > 0)
        {
            text.WriteLine($"{Show.Size(result.OthersBytes)} of it stay as they are: another device of the account owns them, or they were taken up lately");
        }
    }

    private static ExitCode List(VerbRun run, IReadOnlyList<FreedInfo> freed)
    {
        run.Output.Result(
            json =>
            {
                json.WriteStartArray("freed");
                foreach (FreedInfo each in freed)
                {
                    json.WriteStartObject();
                    json.WriteString("volume", each.Volume);
                    TerminalText.WriteName(json, "path", each.Path);
                    json.WriteString("since", Show.IsoTime(each.SinceSeconds * 1_000_000_000));
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            },
            text =>
            {
                if (freed.Count == 0)
                {
                    text.WriteLine("nothing is freed here");
                    return;
                }

                Table table = new("VOLUME", "PATH", "SINCE");
                foreach (FreedInfo each in freed)
                {
                    table.Add([TerminalText.Clean(each.Volume), each.Path.Length == 0 ? "/" : TerminalText.Escape(each.Path), Show.Time(each.SinceSeconds * 1_000_000_000, run.Output.Zone)]);
                }

                table.Write(text);
            });
        return ExitCode.Ok;
    }
}
