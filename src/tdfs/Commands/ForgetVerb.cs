using System.CommandLine;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs forget`: drops snapshots, named or by keep rules. Their space comes back with reclaim.</summary>
internal static class ForgetVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string[]> snapshots = new("snapshot") { Description = "Snapshots to forget, as for `tdfs ls`", Arity = ArgumentArity.ZeroOrMore };
        Option<bool> keep = new("--keep") { Description = "Thin by the [keep] rules of storage.toml; the options below change single rules" };
        Option<int?>[] rules = [.. ((string[])["last", "hourly", "daily", "weekly", "monthly", "yearly"]).Select(rule =>
            new Option<int?>("--keep-" + rule) { Description = $"Keep {(rule == "last" ? "the newest" : $"one a {Period(rule)} of the newest")} n", HelpName = "n" })];
        Option<string?> volume = new("--volume") { Description = "Thin only this volume", HelpName = "name" };
        Option<bool> dryRun = new("--dry-run", "-n") { Description = "Only say what would be forgotten" };
        Verb verb = new(
            "forget",
            "Forgets snapshots, named or by keep rules; `tdfs reclaim` then frees their space",
            "tdfs forget photos@3",
            "tdfs forget --keep --dry-run                        # what the rules of storage.toml would leave",
            "tdfs forget --volume photos --keep-daily 7 --keep-monthly 12")
        {
            snapshots, keep, volume, dryRun,
        };
        foreach (Option<int?> rule in rules)
        {
            verb.Add(rule);
        }

        verb.Does(context, async (run, cancel) =>
        {
            bool hasRules = run.Get(keep) || rules.Any(run.Has);
            string[] named = run.Get(snapshots);
            if (hasRules == named.Length > 0)
            {
                throw new UserError(ExitCode.Usage, $"found {(hasRules ? "both snapshots and keep rules" : "neither snapshots nor keep rules")}, expected one of the two");
            }

            if (rules.FirstOrDefault(rule => run.Get(rule) is < 0 or > 10000) is Option<int?> bad)
            {
                throw new UserError(ExitCode.Usage, $"found {bad.Name} {run.Get(bad)}, expected 0 to 10000");
            }

            // Named rules stand alone; with --keep they change those of storage.toml.
            KeepRules start = run.Get(keep) ? run.LoadConfig().Keep : new KeepRules();
            KeepRules wanted = new()
            {
                Last = run.Get(rules[0]) ?? start.Last,
                Hourly = run.Get(rules[1]) ?? start.Hourly,
                Daily = run.Get(rules[2]) ?? start.Daily,
                Weekly = run.Get(rules[3]) ?? start.Weekly,
                Monthly = run.Get(rules[4]) ?? start.Monthly,
                Yearly = run.Get(rules[5]) ?? start.Yearly,
            };
            if (hasRules && wanted.IsEmpty)
            {
                throw new UserError(ExitCode.Usage, "found keep rules that keep nothing, expected at least one above 0; name the snapshots to forget all of them");
            }

            ForgetRequest request = new() { Snapshots = named, Volume = run.Get(volume), Keep = hasRules ? wanted : null, IsDryRun = run.Get(dryRun) };
            IStoreSession store = await run.OpenAsync(request.IsDryRun ? StoreAccess.Read : StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                ForgetResult result = await store.Volumes.ForgetAsync(request, cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteBoolean("dryRun", request.IsDryRun);
                        SnapshotsVerb.WriteSnapshots(json, "forgotten", result.Forgotten);
                        SnapshotsVerb.WriteSnapshots(json, "kept", result.Kept);
                    },
                    text =>
                    {
                        SnapshotsVerb.WriteTable(text, result.Forgotten, run.Output.Zone);
                        text.WriteLine($"{(request.IsDryRun ? "would forget" : "forgot")} {Show.Count(result.Forgotten.Count, "snapshot")}, {Show.Count(result.Kept.Count)} kept");
                    });
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static string Period(string rule) => rule switch { "hourly" => "hour", "daily" => "day", "weekly" => "week", "monthly" => "month", _ => "year" };
}
