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
            "Lists, makes and renames volumes",
            "tdfs volume list",
            "tdfs volume create work",
            "tdfs volume rename work archive");
        volume.Add(List(context));
        volume.Add(Make(context));
        volume.Add(Rename(context));
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
        Verb make = new("create", "Makes an empty volume", "tdfs volume create work") { name };
        make.Does(context, async (run, cancel) =>
        {
            SnapshotWords.RefuseVolume(run.Get(name), "");
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
