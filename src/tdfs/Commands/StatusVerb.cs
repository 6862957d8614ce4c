using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs status`: the store at a glance.</summary>
internal static class StatusVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb verb = new("status", "Shows the store at a glance: space, holders, redundancy, what waits", "tdfs status", "tdfs status --json");
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel, asksNode: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                await store.Care.GreetAsync(cancel).ConfigureAwait(false);
                StoreStatus status = store.Care.Status();
                status = status with { WaitingFor = [.. status.WaitingFor, .. await store.Devices.WaitingForAsync(cancel).ConfigureAwait(false)] };
                run.Output.Result(
                    json =>
                    {
                        json.WriteString("store", status.StorePath);
                        json.WriteString("redundancy", status.RedundancyClass);
                        json.WriteNumber("survivablePlaces", status.SurvivablePlaceCount);
                        if (status.Health is { } health)
                        {
                            json.WriteNumber("survives", health.Survives);
                            json.WriteNumber("weakArenas", health.WeakArenaCount);
                            json.WriteNumber("unreadableArenas", health.UnreadableArenaCount);
                            json.WriteNumber("missingPlaces", health.MissingPlaceCount);
                        }

                        json.WriteBoolean("passphrase", status.HasPassphrase);
                        json.WriteNumber("volumes", status.VolumeCount);
                        json.WriteNumber("arenas", status.ArenaCount);
                        json.WriteNumber("storedBytes", status.StoredBytes);
                        json.WriteNumber("parityBytes", status.ParityBytes);
                        json.WriteNumber("journalBytes", status.JournalBytes);
                        json.WriteNumber("trashBytes", status.TrashBytes);
                        if (status.FreedCount > 0 || status.AwayBytes > 0)
                        {
                            json.WriteNumber("freedFolders", status.FreedCount);
                            json.WriteNumber("awayBytes", status.AwayBytes);
                        }

                        if (status.CacheBytes is long cached)
                        {
                            json.WriteNumber("cacheBytes", cached);
                        }

                        json.WriteNumber("lagBytes", status.Lag.Bytes);
                        json.WriteNumber("lagSeconds", (long)status.Lag.Age(run.Output.Clock).TotalSeconds);
                        if (status.ReplicateWithin > TimeSpan.Zero)
                        {
                            json.WriteNumber("replicateWithinSeconds", (long)status.ReplicateWithin.TotalSeconds);
                            json.WriteBoolean("late", IsLate(status, run.Output.Clock));
                        }

                        if (status.Countries.Count > 0)
                        {
                            Report.WriteList(json, "countries", status.Countries);
                        }

                        Report.WriteList(json, "waitingFor", status.WaitingFor);
                        Report.WriteEvidence(json, status.Evidence);
                        json.WriteStartArray("holders");
                        foreach (HolderStatus holder in status.Holders)
                        {
                            json.WriteStartObject();
                            json.WriteString("path", holder.Path);
                            json.WriteString("place", holder.Place);
                            if (holder.Country is not null)
                            {
                                json.WriteString("country", holder.Country);
                            }

                            json.WriteBoolean("present", holder.IsPresent);
                            json.WriteString("standing", Report.Standing(holder.Standing));
                            json.WriteNumber("usedBytes", holder.UsedBytes);
                            if (holder.QuotaBytes is long quota)
                            {
                                json.WriteNumber("quotaBytes", quota);
                            }

                            json.WriteNumber("freeBytes", holder.FreeBytes);
                            json.WriteEndObject();
                        }

                        json.WriteEndArray();
                        if (status.Leaving.Count > 0)
                        {
                            Report.WriteList(json, "leaving", [.. status.Leaving.Where(static holder => !holder.IsOutside).Select(static holder => holder.Place)]);
                            Report.WriteList(json, "outside", [.. status.Leaving.Where(static holder => holder.IsOutside).Select(static holder => holder.Place)]);
                        }
                    },
                    text => WriteText(text, status, run.Output.Clock));
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static bool IsLate(StoreStatus status, TimeProvider clock) => status.ReplicateWithin > TimeSpan.Zero && status.Lag.Age(clock) > status.ReplicateWithin;

    private static void WriteText(TextWriter text, StoreStatus status, TimeProvider clock)
    {
        text.WriteLine($"store       {TerminalText.Clean(status.StorePath)}");
        text.WriteLine($"redundancy  {status.RedundancyClass}: survives the loss of {Show.Count(status.SurvivablePlaceCount, "place")}");
        if (status.Health is { WeakArenaCount: > 0 } health)
        {
            string missing = health.MissingPlaceCount > 0 ? $"; nobody answers at {health.MissingPlaceCount} of {Show.Count(health.PlaceCount, "place")}" : "";
            text.WriteLine(health.UnreadableArenaCount > 0
                ? $"now         {health.UnreadableArenaCount} of {Show.Count(status.ArenaCount, "arena")} CANNOT BE READ{missing}"
                : $"now         survives {health.Survives}: {health.WeakArenaCount} of {Show.Count(status.ArenaCount, "arena")} outlive less than that{missing}");
        }

        if (status.Countries.Count > 0)
        {
            text.WriteLine($"countries   {string.Join(", ", status.Countries)}: nothing goes to a holder anywhere else, or without a country");
        }

        text.WriteLine($"keyring     {(status.HasPassphrase ? "under a passphrase" : "WITHOUT a passphrase: protected by its file mode alone")}");
        text.WriteLine($"kept        {Show.Size(status.StoredBytes)} in {Show.Count(status.ArenaCount, "arena")} of {Show.Count(status.VolumeCount, "volume")}, parity {Show.Size(status.ParityBytes)}, journal {Show.Size(status.JournalBytes)}");
        text.WriteLine($"trash       {Show.Size(status.TrashBytes)}");
        if (status.FreedCount > 0 || status.AwayBytes > 0)
        {
            text.WriteLine($"freed       {Show.Count(status.FreedCount, "folder")}: {Show.Size(status.AwayBytes)} of what is kept {(status.AwayBytes == 1 ? "lies" : "lie")} on other machines alone; `tdfs free --list` shows them");
        }

        if (status.Lag.Bytes > 0)
        {
            text.WriteLine($"lag         {ReplicationBound.Text(status.Lag, clock)}: not yet at the places that were promised{(IsLate(status, clock) ? $"; LATE, replicate-within is {Show.Duration(status.ReplicateWithin)}: WRITERS WAIT" : "")}");
        }

        if (status.CacheBytes is long cached)
        {
            text.WriteLine($"cache       {Show.Size(cached)} of what lies at peers, and at folders that are cached");
        }

        if (status.Evidence.PeerCount > 0)
        {
            text.WriteLine($"peers       {Report.Evidence(status.Evidence, clock)}");
        }

        foreach (string reason in status.WaitingFor)
        {
            text.WriteLine("waiting for " + reason);
        }

        text.WriteLine();
        bool hasCountries = status.Countries.Count > 0 || status.Holders.Concat(status.Leaving).Any(static h => h.Country is not null);
        Table table = hasCountries ? new("HOLDER", "PLACE", "COUNTRY", ">USED", ">QUOTA", ">FREE", "") : new("HOLDER", "PLACE", ">USED", ">QUOTA", ">FREE", "");
        foreach (HolderStatus h in status.Leaving)
        {
            Add(h, "-", "-", h.IsOutside ? "OUTSIDE" : "LEAVING");
        }

        foreach (HolderStatus h in status.Holders)
        {
            Add(h, h.QuotaBytes is long quota ? Show.Size(quota) : "-", Show.Size(h.FreeBytes), h.Standing switch { HolderStanding.Lost => "LOST", HolderStanding.Late => "LATE", _ => h.IsPresent ? "" : "MISSING" });
        }

        table.Write(text);

        void Add(HolderStatus h, string quota, string free, string state) =>
            table.Add([TerminalText.Clean(h.Path), h.Place, .. hasCountries ? [h.Country ?? "-"] : (string[])[], Show.Size(h.UsedBytes), quota, free, state]);
    }
}
