using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs volume`: what volumes there are, and new ones.</summary>
internal static class VolumeVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb volume = new(
            "volume",
            "Lists, makes, renames and burns volumes",
            "tdfs volume list",
            "tdfs volume create work",
            "tdfs volume create --burnable diary       # its keys are here alone, and can be erased",
            "tdfs volume rename work archive");
        volume.Add(List(context));
        volume.Add(Make(context));
        volume.Add(Rename(context));
        volume.Add(Burn(context));
        return volume;
    }

    private static Verb List(VerbContext context)
    {
        Verb list = new("list", "Lists the volumes, and where they are mounted", "tdfs volume list --json");
        list.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel, asksNode: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<VolumeInfo> volumes = await store.Volumes.VolumesAsync(cancel).ConfigureAwait(false);
                run.Output.Result(json => Write(json, volumes), text => Write(text, volumes, run.Output.Zone));
                return volumes.Any(static each => each.IsDamaged) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return list;
    }

    private static Verb Make(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "Its name" };
        Option<bool> burnable = new("--burnable") { Description = "Keep its keys in this keyring alone, so that they can be erased: the words do NOT bring it back" };
        Verb make = new("create", "Makes an empty volume", "tdfs volume create work", "tdfs volume create --burnable diary") { name, burnable };
        make.Does(context, async (run, cancel) =>
        {
            SnapshotWords.RefuseVolume(run.Get(name), "");
            if (run.Get(burnable))
            {
                await run.Host.CreateBurnableAsync(run.NewRequest("making a burnable volume"), run.Get(name), cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteString("volume", run.Get(name));
                        json.WriteBoolean("burnable", true);
                    },
                    text => text.WriteLine($"{TerminalText.Clean(run.Get(name))} is there, and empty. The 24 words do NOT bring it back: its keys are in this store's keyring alone"));
                return ExitCode.Ok;
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                await store.Volumes.CreateAsync(run.Get(name), cancel).ConfigureAwait(false);
                run.Output.Result(json => json.WriteString("volume", run.Get(name)), text => text.WriteLine($"{TerminalText.Clean(run.Get(name))} is there, and empty; `tdfs mount` shows it as a folder"));
                return ExitCode.Ok;
            }
        });
        return make;
    }

    private static Verb Rename(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "What it is called now" };
        Argument<string> newName = new("new-name") { Description = "What it is to be called" };
        Verb rename = new("rename", "Gives a volume another name; its snapshots stay with it", "tdfs volume rename work archive") { name, newName };
        rename.Does(context, async (run, cancel) =>
        {
            SnapshotWords.RefuseVolume(run.Get(newName), "");
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                await store.Volumes.RenameAsync(run.Get(name), run.Get(newName), cancel).ConfigureAwait(false);
                run.Output.Result(json => json.WriteString("volume", run.Get(newName)), text => text.WriteLine($"{TerminalText.Clean(run.Get(name))} is {TerminalText.Clean(run.Get(newName))} now"));
                return ExitCode.Ok;
            }
        });
        return rename;
    }

    private static Verb Burn(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "A burnable volume" };
        Option<bool> yes = new("--yes") { Description = "Do it: nothing brings the volume back" };
        Verb burn = new("burn", "Erases a burnable volume's keys, and with them all its data and snapshots", "tdfs volume burn diary --yes") { name, yes };
        burn.Does(context, async (run, cancel) =>
        {
            if (!run.Get(yes))
            {
                throw new UserError(ExitCode.Usage, $"nothing brings {TerminalText.Clean(run.Get(name))} back once it is burned, expected --yes");
            }

            BurnResult done = await run.Host.BurnAsync(run.NewRequest("burning"), run.Get(name), cancel).ConfigureAwait(false);
            foreach (string other in done.OtherKeyrings)
            {
                run.Output.Say($"tdfs: {TerminalText.Clean(other)} is an older keyring, which may have the keys still; delete it");
            }

            run.Output.Result(
                json =>
                {
                    json.WriteString("volume", run.Get(name));
                    json.WriteNumber("freedBytes", done.FreedBytes);
                    Report.WriteList(json, "otherKeyrings", done.OtherKeyrings);
                    Report.WriteList(json, "waitingFor", done.Reasons);
                },
                text => text.WriteLine($"{TerminalText.Clean(run.Get(name))} is burned: its keys are erased here, and {Show.Size(done.FreedBytes)} are free. Copies of the keyring that you made elsewhere have them still"));
            foreach (string reason in done.Reasons)
            {
                run.Output.Say($"tdfs: {TerminalText.Clean(reason)}");
            }

            return done.OtherKeyrings.Count > 0 ? ExitCode.Reported : ExitCode.Ok;
        });
        return burn;
    }

    private static void Write(Utf8JsonWriter json, IReadOnlyList<VolumeInfo> volumes)
    {
        json.WriteStartArray("volumes");
        foreach (VolumeInfo volume in volumes)
        {
            json.WriteStartObject();
            json.WriteString("name", volume.Name);
            if (volume.Problem is { } problem)
            {
                json.WriteString("problem", problem);
            }
            else
            {
                json.WriteNumber("snapshots", volume.SnapshotCount);
                json.WriteString("newest", volume.NewestNs is long newest ? Show.IsoTime(newest) : null);
                json.WriteNumber("entries", volume.EntryCount);
                json.WriteNumber("bytes", volume.Bytes);
                json.WriteString("open", volume.Where);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Write(TextWriter text, IReadOnlyList<VolumeInfo> volumes, TimeZoneInfo zone)
    {
        Table table = new("VOLUME", ">SNAPSHOTS", "NEWEST", ">ENTRIES", ">SIZE", "");
        foreach (VolumeInfo volume in volumes)
        {
            if (volume.Problem is { } problem)
            {
                table.Add(TerminalText.Clean(volume.Name), "", "", "", "", $"(unreadable: {TerminalText.Clean(problem)})");
                continue;
            }

            string newest = volume.NewestNs is long time ? Show.Time(time, zone) : "";
            table.Add(TerminalText.Clean(volume.Name), Show.Count(volume.SnapshotCount), newest, Show.Count(volume.EntryCount), Show.Size(volume.Bytes), TerminalText.Clean(volume.Where ?? ""));
        }

        table.Write(text);
    }
}
