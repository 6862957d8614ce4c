using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Puts a volume's active tree behind a FUSE mount.</summary>
/// <remarks>
/// Order at the end, whatever brings it: the mount is taken away; then nothing uses the tree any more, and what it holds is committed. A crash before that leaves what was synced in the
/// journal, and the next writer that opens the store takes it in.
/// Nothing of the store may lie in the folder: this process would wait for itself.
/// </remarks>
internal sealed class VolumeMounts(VolumeOpener opener) : IMounts
{
    public async ValueTask<MountResult> ServeAsync(MountRequest request, Action<string, string> mounted, CancellationToken cancel)
    {
        string folder = Prepare(request.Folder);
        string where = $"mounted on {folder}";
        if (opener.Volumes.FindUse(where) is { } other)
        {
            throw new UserError(ExitCode.Locked, $"{folder} shows the volume {other.Volume.Name} already; expected another folder, or unmount it");
        }

        OpenVolumes.Use use = await opener.OpenAsync(request.Volume, request.Creates, "tdfs mount --create NAME FOLDER", where, cancel).ConfigureAwait(false);
        await using (use.ConfigureAwait(false)) // 2. the commit of what was written, if nothing else shows the volume
        {
            FuseMount mount = await MountAsync(use, folder, request.WritebackCache).ConfigureAwait(false);
            bool isClean;
            try
            {
                mounted(use.Volume.Name, mount.Path);
                await mount.Ended.WaitAsync(cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            finally
            {
                isClean = await mount.UnmountAsync().ConfigureAwait(false); // 1. nobody writes any more by this mount
            }

            return new MountResult(use.Volume.Name, folder, !isClean);
        }
    }

    private string Prepare(string folder)
    {
        string[] own = [opener.Config.StorePath, opener.Config.Node.Listen is null ? "" : opener.Config.Node.Folder, AppContext.BaseDirectory, opener.Config.LogFile ?? "", .. opener.Store.Holders.Where(static holder => holder.Address.Length > 0 && !PeerHolders.IsPeer(holder)).Select(static holder => holder.Address)];
        foreach (string path in own)
        {
            if (path.Length > 0 && FuseMount.IsAtOrBelow(path, folder))
            {
                throw new UserError(ExitCode.Usage, $"found {path}, which tdfs itself needs, in {folder}; expected a folder to mount on that holds nothing of the store");
            }
        }

        try
        {
            return FuseMount.Prepare(folder);
        }
        catch (MountException missing)
        {
            throw new UserError(ExitCode.NotFound, missing.Message, missing);
        }
    }

    private async ValueTask<FuseMount> MountAsync(OpenVolumes.Use use, string folder, bool writebackCache)
    {
        var options = new FuseOptions { AllowOther = Environment.IsPrivilegedProcess, WritebackCache = writebackCache, Trouble = opener.Say };
        try
        {
            return await FuseMount.StartAsync(use.View, folder, options, opener.Clock).ConfigureAwait(false);
        }
        catch (MountException refused)
        {
            throw new UserError(ExitCode.DiskFailed, refused.Message, refused);
        }
    }
}
