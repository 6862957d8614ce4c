namespace TokTok.Storage.Tdfs.Config;

/// <summary>Finds storage.toml: --config, $TDFS_CONFIG, the user's, the machine's, the shipped one.</summary>
/// <remarks>
/// The current folder is not looked into: a folder that is only visited must not direct where backups go and under which keys.
/// A file that was named and is missing is an error; the user's and the machine's may be missing.
/// </remarks>
internal static class ConfigFile
{
    private const string ShippedName = "storage.toml";

    /// <param name="named">The value of --config, or null.</param>
    /// <param name="environment">Reads an environment variable.</param>
    /// <param name="store">The value of --store, absolute, or null.</param>
    internal static StorageConfig Load(string? named, Func<string, string?> environment, string? store = null)
    {
        string home = environment("HOME") is { Length: > 0 } h ? h : "/";
        string? explicitPath = named ?? (environment("TDFS_CONFIG") is { Length: > 0 } fromEnvironment ? fromEnvironment : null);
        if (explicitPath is { Length: 0 })
        {
            throw new UserError(ExitCode.Usage, "found an empty --config, expected a file; leave --config away to use the default");
        }

        if (explicitPath is not null)
        {
            return TryRead(explicitPath, home, store)
                ?? throw new UserError(ExitCode.Config, $"{explicitPath}: found no such file, expected storage.toml; {(named is null ? "unset TDFS_CONFIG" : "leave --config away")} to use the default");
        }

        string configHome = environment("XDG_CONFIG_HOME") is ['/', ..] xdg ? xdg : Path.Join(home, ".config");
        return TryRead(Path.Join(configHome, "tdfs", ShippedName), home, store)
            ?? TryRead("/etc/tdfs/storage.toml", home, store)
            ?? LoadShipped(home);
    }

    /// <summary>The default that is built into the command: the storage.toml of the repository's top level.</summary>
    internal static StorageConfig LoadShipped(string home) => StorageConfig.Parse(ShippedName, ShippedBytes(), "/", home);

    internal static byte[] ShippedBytes()
    {
        using Stream stream = typeof(ConfigFile).Assembly.GetManifestResourceStream(ShippedName)!;
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>Who keeps fragments besides the folders of the file stands in the store, for its keyring to read.</summary>
    internal static bool HasPeers(string store) => new FileInfo(Path.Join(store, TokTok.Storage.Node.Peers.PeerFile.Name)).Exists;

    private static StorageConfig? TryRead(string path, string home, string? store)
    {
        byte[] bytes;
        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read);
            // One byte more than allowed is enough for the reader to refuse it, whatever the file (a device, say) goes on to give.
            byte[] buffer = new byte[TomlReader.MaxFileBytes + 1];
            bytes = buffer[..stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false)];
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserError(ExitCode.Config, $"{path}: found no way to read it ({e.Message}), expected a readable storage.toml", e);
        }

        return StorageConfig.Parse(path, bytes, Path.GetDirectoryName(Path.GetFullPath(path))!, home, path => HasPeers(store ?? path));
    }
}
