using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs mount [VOLUME] FOLDER`: a volume as a folder to work in, as long as the verb runs.</summary>
internal static class MountVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string[]> names = new("folder") { Description = "The folder to mount on; before it the volume's name, unless there is only one", Arity = new ArgumentArity(1, 2) };
        Option<bool> create = new("--create") { Description = "Make the volume if there is none of that name" };
        Option<bool> writebackCache = new("--writeback-cache") { Description = "Let the kernel gather small writes; for a volume that nothing but this mount changes" };
        Verb verb = new(
            "mount",
            "Shows a volume as a folder to work in, until Ctrl-C or umount; what is synced survives any crash, everything else is committed every 30 seconds and at the end",
            "tdfs mount ~/drive                          # the only volume there is",
            "tdfs mount --create work ~/work")
        {
            names, create, writebackCache,
        };
        verb.Does(context, async (run, cancel) =>
        {
            string[] given = run.Get(names);
            string folder = given[^1];
            string? volume = given.Length == 2 ? given[0] : null;
            if (folder.Length == 0)
            {
                throw new UserError(ExitCode.Usage, "found an empty folder name, expected the folder to mount on");
            }

            if (volume is not null)
            {
                SnapshotWords.RefuseVolume(volume, folder);
            }
            else if (run.Get(create))
            {
                throw new UserError(ExitCode.Usage, "found --create without a volume, expected `tdfs mount --create NAME FOLDER`");
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Serve, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                var request = new MountRequest { Volume = volume, Folder = run.FullPath(folder), Creates = run.Get(create), WritebackCache = run.Get(writebackCache) };
                MountResult result = await store.Mounts.ServeAsync(request, (name, path) => run.Output.Say($"{name} is mounted on {path}; Ctrl-C or `umount {path}` ends it"), cancel).ConfigureAwait(false);
                if (result.WasInUse)
                {
                    run.Output.Say($"{result.Folder} was still in use; what had files open there was cut off");
                }

                run.Output.Result(
                    json =>
                    {
                        json.WriteString("volume", result.Volume);
                        json.WriteString("folder", result.Folder);
                        json.WriteBoolean("wasInUse", result.WasInUse);
                    },
                    text => text.WriteLine($"{result.Volume}: unmounted from {result.Folder}, everything committed"));
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
