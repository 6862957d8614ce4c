using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Core.Encryption;

/// <summary>A small file of this device's own in the state folder, encrypted under its cache key, that several processes change and nobody needs.</summary>
/// <remarks>
/// Format: docs/format.md 17.3, 17.4, 17.8. Each change reads, changes and writes under a lock of its own. Durable when it returns; a crash before the rename leaves what was there.
/// A file that is damaged, or another device's, is as none. The cache key stays the caller's.
/// </remarks>
public sealed class EncryptedFile(IDisk disk, string folder, string name, string magic, string context, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const int MaxMessageBytes = 4 * 1024 * 1024;

    private const int MagicSize = 8;
    private const int HeaderSize = MagicSize + sizeof(uint);

    private static readonly TimeSpan s_turn = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly string _path = folder + "/" + name;

    /// <summary>The contents; null: there are none that can be read.</summary>
    public byte[]? Read()
    {
        try
        {
            using IDiskFile open = disk.Open(_path, DiskOpen.Read);
            if (open.Length > HeaderSize + MaxMessageBytes + Blake3.HashSize)
            {
                return null;
            }

            byte[] file = new byte[open.Length];
            file = file[..open.Read(0, file)];
            var reader = new FieldReader(file, _path);
            reader.Magic(System.Text.Encoding.ASCII.GetBytes(magic));
            ReadOnlySpan<byte> message = reader.Bytes(reader.Count(MaxMessageBytes, "the message's length"));
            Span<byte> checksum = stackalloc byte[Blake3.HashSize];
            Blake3.Hash(file.AsSpan(0, reader.Position), checksum);
            bool isWhole = reader.Bytes(Blake3.HashSize).SequenceEqual(checksum) && reader.Remaining == 0;
            if (!isWhole || !Dare.TryPlainBytes(message.Length, out int plainBytes))
            {
                return null;
            }

            using SecretBytes key = Key();
            byte[] plain = new byte[plainBytes];
            return Dare.TryDecrypt(key.Span, message, plain, out _) ? plain : null;
        }
        catch (Exception none) when (none is DamagedFormatException or DiskException { Failure: DiskFailure.NotFound })
        {
            return null;
        }
    }

    /// <param name="change">What the contents become; null: they stay.</param>
    public async ValueTask ChangeAsync(Func<byte[]?, FieldWriter?> change, CancellationToken cancel)
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
            if (change(Read()) is not { } contents)
            {
                return;
            }

            int messageBytes = Dare.CipherBytes(contents.Length);
            if (messageBytes > MaxMessageBytes)
            {
                throw new InvalidOperationException($"{_path} would have {messageBytes} bytes, at most {MaxMessageBytes} can be read back.");
            }

            var file = new FieldWriter(HeaderSize + messageBytes + Blake3.HashSize);
            file.Bytes(System.Text.Encoding.ASCII.GetBytes(magic));
            file.U32((uint)messageBytes);
            using (SecretBytes key = Key())
            {
                Dare.Encrypt(key.Span, random, contents.Written, file.Take(messageBytes));
            }

            Span<byte> checksum = stackalloc byte[Blake3.HashSize];
            Blake3.Hash(file.Written, checksum);
            file.Bytes(checksum);
            WholeFile.Write(disk, folder, _path, file.Written);
        }
    }

    private SecretBytes Key()
    {
        var key = new SecretBytes(Dare.KeySize);
        Blake3.DeriveKey(context, cacheKey.Span, key.Writable);
        return key;
    }
}
