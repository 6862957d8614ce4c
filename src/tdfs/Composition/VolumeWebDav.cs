using System.Runtime.ExceptionServices;
using System.Security.Cryptography;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.WebDav;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Puts volumes' active trees behind a WebDAV server.</summary>
/// <remarks>
/// The token is made once, 160 random bits as four groups of letters and digits, and lies in the state folder as `webdav-token` (mode 0600), so that clients which remember it go on after a restart. Deleting the file
/// makes a new one. The dots between the groups tell rclone that it is no password that rclone has obscured already, which it would take base64 of this length for.
/// </remarks>
internal sealed class VolumeWebDav(VolumeOpener opener) : IWebDav
{
    internal const string TokenName = "webdav-token";

    private const int TokenGroups = 4;

    private const int GroupChars = 8;

    private const int MaxTokenBytes = 512;

    public async ValueTask<IReadOnlyList<string>> ServeAsync(WebDavRequest request, Action<WebDavAddress> serving, CancellationToken cancel)
    {
        string tokenFile = request.TokenFile ?? $"{opener.Config.StorePath}/{TokenName}";
        byte[] token = request.TokenFile is null ? ReadOrMake(tokenFile) : Read(tokenFile);
        List<OpenVolumes.Use> uses = [];
        try
        {
            string where = $"served at {request.Endpoint}";
            foreach (string? name in request.Volumes.DefaultIfEmpty<string?>(null))
            {
                uses.Add(await opener.OpenAsync(name, request.Creates, "tdfs webdav --create NAME", where, cancel).ConfigureAwait(false));
            }

            string[] names = [.. uses.Select(static use => use.Volume.Name)];
            WebDavServer server = await StartAsync(uses, request, token, cancel).ConfigureAwait(false);
            await using (server.ConfigureAwait(false)) // 1. nobody writes any more by this server
            {
                serving(new WebDavAddress(names, server.Url, token, tokenFile));
                await Task.Delay(Timeout.InfiniteTimeSpan, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            return names;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(token);
            await EndAsync(uses).ConfigureAwait(false); // 2. the commit of what was written, where nothing else shows the volume
        }
    }

    /// <summary>Ends all uses, whatever becomes of one; what failed first is told.</summary>
    private static async ValueTask EndAsync(List<OpenVolumes.Use> uses)
    {
        ExceptionDispatchInfo? failed = null;
        foreach (OpenVolumes.Use use in uses)
        {
            try
            {
                await use.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception failure)
            {
                failed ??= ExceptionDispatchInfo.Capture(failure);
            }
        }

        failed?.Throw();
    }

    private async Task<WebDavServer> StartAsync(List<OpenVolumes.Use> uses, WebDavRequest request, byte[] token, CancellationToken cancel)
    {
        var options = new WebDavOptions
        {
            Endpoint = request.Endpoint,
            Token = token,
            Caller = new FileCaller(Passphrases.Posix.EffectiveUser(), Passphrases.Posix.EffectiveGroup()), // front end 0: mounts hear of every change
            Trouble = opener.Say,
        };
        try
        {
            if (!request.AsCollections)
            {
                return await WebDavServer.StartAsync(uses[0].View, options, opener.Clock, opener.Random, cancel).ConfigureAwait(false);
            }

            // A slash separates names in a path: a volume that has one in its name is shown without.
            Dictionary<string, IVolumeFileSystem> volumes = new(StringComparer.Ordinal);
            foreach (OpenVolumes.Use use in uses)
            {
                string name = use.Volume.Name.Replace('/', '_');
                if (name is "." or ".." || !volumes.TryAdd(name, use.View))
                {
                    throw new UserError(ExitCode.Usage, $"volume {use.Volume.Name} cannot be served beside the others, expected volumes that are called apart where '/' is '_'");
                }
            }

            return await WebDavServer.StartAsync(volumes, options, opener.Clock, opener.Random, cancel).ConfigureAwait(false);
        }
        catch (Exception refused) when (refused is IOException or System.Net.Sockets.SocketException)
        {
            throw new UserError(ExitCode.Usage, $"{request.Endpoint}: {(refused.InnerException ?? refused).Message}; --listen names another address or port", refused);
        }
    }

    private byte[] ReadOrMake(string path)
    {
        if (opener.Disk.FileExists(path))
        {
            return Read(path);
        }

        byte[] token = new byte[(TokenGroups * (GroupChars + 1)) - 1];
        opener.Random.Fill(token);
        for (int i = 0; i < token.Length; i++)
        {
            token[i] = i % (GroupChars + 1) == GroupChars ? (byte)'.' : "abcdefghijklmnopqrstuvwxyz234567"u8[token[i] & 31];
        }

        using (IDiskFile file = opener.Disk.Open(path, DiskOpen.CreateNew))
        {
            file.Write(0, token);
            file.Sync();
        }

        opener.Disk.SyncDirectory(opener.Config.StorePath);
        return token;
    }

    private byte[] Read(string path)
    {
        if (!opener.Disk.FileExists(path))
        {
            throw new UserError(ExitCode.NotFound, $"{path}: found no such file, expected one whose first line is the token");
        }

        using IDiskFile file = opener.Disk.Open(path, DiskOpen.Read);
        byte[] bytes = new byte[Math.Min(file.Length, MaxTokenBytes + 1)];
        ReadOnlySpan<byte> line = bytes.AsSpan(0, file.Read(0, bytes));
        int end = line.IndexOfAny((byte)'\n', (byte)'\r');
        line = end < 0 ? line : line[..end];
        if (line.Length is < WebDavOptions.MinTokenBytes or > MaxTokenBytes || line.ContainsAnyExceptInRange((byte)'!', (byte)'~'))
        {
            throw new UserError(ExitCode.Usage, $"{path}: found no token, expected a first line of {WebDavOptions.MinTokenBytes} to {MaxTokenBytes} visible ASCII characters without spaces");
        }

        byte[] token = line.ToArray();
        CryptographicOperations.ZeroMemory(bytes);
        return token;
    }
}
