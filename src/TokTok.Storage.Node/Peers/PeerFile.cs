using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Peers;

/// <summary>The peer list on disk, encrypted under the device's cache key.</summary>
/// <remarks>
/// Format: docs/format.md 17.1. Several processes change it: each reads, changes and writes under <c>peers.lock</c> (<see cref="ChangeAsync"/>).
/// Durable when a change returns; a crash before the rename leaves the list as it was, and a temporary that the next change replaces.
/// The cache key stays the caller's.
/// </remarks>
public sealed class PeerFile(IDisk disk, string stateFolder, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const string Name = "peers";

    private const int MaxMessageBytes = 4 * 1024 * 1024;
    private const int HeaderSize = 8 + sizeof(uint);
    private const string Context = "tdfs 2026-11 peer list v1";

    /// <summary>How often a lock that another process has is asked for, and how long.</summary>
    private static readonly TimeSpan s_turn = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly string _path = stateFolder + "/" + Name;

    private static ReadOnlySpan<byte> Magic => "TDFSPER1"u8;

    /// <summary>The list; empty where there is none.</summary>
    /// <exception cref="DamagedFormatException">The file is damaged, or another device's.</exception>
    public PeerList Read()
    {
        byte[] file;
        try
        {
            using IDiskFile open = disk.Open(_path, DiskOpen.Read);
            if (open.Length > HeaderSize + MaxMessageBytes + Blake3.HashSize)
            {
                throw new DamagedFormatException($"{_path}: {open.Length} bytes, at most {HeaderSize + MaxMessageBytes + Blake3.HashSize} expected");
            }

            file = new byte[open.Length];
            file = file[..open.Read(0, file)];
        }
        catch (DiskException missing) when (missing.Failure == DiskFailure.NotFound)
        {
            return PeerList.Empty;
        }

        var reader = new FieldReader(file, _path);
        reader.Magic(Magic);
        ReadOnlySpan<byte> message = reader.Bytes(reader.Count(MaxMessageBytes, "the message's length"));
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, reader.Position), checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("the checksum does not match");
        }

        reader.End();
        using SecretBytes key = Key();
        if (!Dare.TryPlainBytes(message.Length, out int plainBytes))
        {
            throw reader.Damaged($"no message has {message.Length} bytes");
        }

        byte[] plain = new byte[plainBytes];
        return Dare.TryDecrypt(key.Span, message, plain, out _)
            ? PeerList.Read(plain)
            : throw reader.Damaged("it does not open with this keyring; it is another device's list");
    }

    /// <summary>Reads, changes and writes, with no other process in between. The change may be asked once only; what it throws leaves the list as it was.</summary>
    /// <returns>The list as it is now.</returns>
    public async ValueTask<PeerList> ChangeAsync(Func<PeerList, PeerList> change, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(change);
        long began = clock.GetTimestamp();
        IDisposable? held;
        while ((held = disk.TryLock(_path + ".lock")) is null)
        {
            if (clock.GetElapsedTime(began) > s_patience)
            {
                throw new DiskException(DiskFailure.Denied, "lock", _path, "another process has been changing it for 10 seconds");
            }

            await Task.Delay(s_turn, clock, cancel).ConfigureAwait(false);
        }

        using (held)
        {
            PeerList before = Read();
            PeerList after = change(before);
            if (!ReferenceEquals(before, after))
            {
                Write(after);
            }

            return after;
        }
    }

    private void Write(PeerList list)
    {
        var contents = new FieldWriter(4096);
        list.Write(contents);
        int messageBytes = Dare.CipherBytes(contents.Length);
        if (messageBytes > MaxMessageBytes)
        {
            throw new InvalidOperationException($"The peer list would have {messageBytes} bytes, at most {MaxMessageBytes} can be read back.");
        }

        var file = new FieldWriter(HeaderSize + messageBytes + Blake3.HashSize);
        file.Bytes(Magic);
        file.U32((uint)messageBytes);
        using (SecretBytes key = Key())
        {
            Dare.Encrypt(key.Span, random, contents.Written, file.Take(messageBytes));
        }

        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.Written, checksum);
        file.Bytes(checksum);
        WholeFile.Write(disk, stateFolder, _path, file.Written);
    }

    private SecretBytes Key()
    {
        var key = new SecretBytes(Dare.KeySize);
        Blake3.DeriveKey(Context, cacheKey.Span, key.Writable);
        return key;
    }
}
