using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Recovery;

/// <summary>What holders tell about an account to whoever has its words.</summary>
public sealed record FoundAccount
{
    /// <summary>The newest whole anchor, or null when only the wrapped keys were found.</summary>
    public required Anchor? Anchor { get; init; }

    /// <summary>Certificates of the account's devices, signed by it.</summary>
    public required IReadOnlyList<DeviceCertificate> Certificates { get; init; }

    /// <summary>Every domain that could be unwrapped, each with the epochs of all its wraps.</summary>
    public required IReadOnlyList<KeyDomain> Domains { get; init; }

    /// <summary>Device numbers that have written logs or anchors.</summary>
    public required IReadOnlyList<uint> Devices { get; init; }
}

/// <summary>Finds an account at holders with nothing but its words.</summary>
public static class AccountFinder
{
    private const int MaxObjectBytes = 17 * 1024 * 1024;
    private const int MaxKeysBytes = 1024 * 1024 + 16 * 1024;

    /// <summary>Null when no holder knows the account. Damaged anchors, and holders that fail, are passed over with a note.</summary>
    /// <exception cref="DiskException">All of them fail.</exception>
    public static async ValueTask<FoundAccount?> FindAsync(AccountKeys account, IReadOnlyList<IFragmentHolder> holders, Action<string> note, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(account);
        ArgumentNullException.ThrowIfNull(holders);
        ArgumentNullException.ThrowIfNull(note);
        Anchor? newest = null;
        var wraps = new List<(ReadOnlyMemory<byte> Bytes, uint Device)>();
        var devices = new SortedSet<uint>();
        var certificates = new List<DeviceCertificate>();
        DiskException? last = null;
        int failedCount = 0;
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                foreach (HolderObject found in await holder.ListObjectsAsync(Anchor.Prefix + account.Tag, cancel).ConfigureAwait(false))
                {
                    try
                    {
                        Anchor anchor = Anchor.Read(await ReadObjectAsync(holder, found.Name, cancel).ConfigureAwait(false), account.AnchorKey.Span, found.Name);
                        if (!anchor.AccountPublicKey.Span.SequenceEqual(account.PublicKey))
                        {
                            throw new DamagedFormatException($"anchor {found.Name}: it names another account's key");
                        }

                        wraps.AddRange(anchor.WrappedDomains.Select(wrap => (wrap, anchor.Device)));
                        devices.Add(anchor.Device);
                        certificates.AddRange(anchor.Certificates.Select(static bytes => DeviceCertificate.Read(bytes.Span)));
                        if (newest is null || anchor.Number > newest.Number)
                        {
                            newest = anchor;
                        }
                    }
                    catch (DamagedFormatException damage)
                    {
                        note(damage.Message);
                    }
                }

                foreach (HolderObject found in await holder.ListObjectsAsync(Anchor.KeysPrefix + account.Tag, cancel).ConfigureAwait(false))
                {
                    if (found.Length > MaxKeysBytes)
                    {
                        note($"{found.Name}: {found.Length} bytes, at most {MaxKeysBytes} expected");
                        continue;
                    }

                    try
                    {
                        (DeviceCertificate certificate, ReadOnlyMemory<byte> wrap) = Anchor.ReadKeys(
                            await ReadObjectAsync(holder, found.Name, cancel).ConfigureAwait(false), account.AnchorKey.Span, account.PublicKey, found.Name);
                        wraps.Add((wrap, certificate.DeviceNumber));
                        devices.Add(certificate.DeviceNumber);
                        certificates.Add(certificate);
                    }
                    catch (DamagedFormatException damage)
                    {
                        note(damage.Message);
                    }
                }

                foreach (HolderObject log in await holder.ListObjectsAsync("catalog/", cancel).ConfigureAwait(false))
                {
                    string name = log.Name["catalog/".Length..];
                    if (name.Length == 8 + 1 + 16 + 1 + 16 && uint.TryParse(name[..8], System.Globalization.NumberStyles.AllowHexSpecifier, System.Globalization.CultureInfo.InvariantCulture, out uint device))
                    {
                        devices.Add(device);
                    }
                }
            }
            catch (DiskException failure)
            {
                note($"{failure.Message}; what the other holders have counts"); // one that fails, or lies, does not stand in the others' way
                last = failure;
                failedCount++;
            }
        }

        if (last is not null && failedCount == holders.Count)
        {
            throw last;
        }

        List<KeyDomain> domains = Unwrap(account, wraps, note);
        return domains.Count == 0 ? null : new FoundAccount { Anchor = newest, Domains = domains, Devices = [.. devices], Certificates = certificates.FindAll(each => each.IsSignedBy(account.PublicKey)) };
    }

    /// <summary>Each domain with the epochs of all its wraps: devices that each began one while they did not know of each other have left wraps of which none has them all.</summary>
    private static List<KeyDomain> Unwrap(AccountKeys account, IEnumerable<(ReadOnlyMemory<byte> Bytes, uint Device)> wraps, Action<string> note)
    {
        var copies = new List<(KeyDomain Domain, uint Device)>();
        try
        {
            foreach ((ReadOnlyMemory<byte> bytes, uint device) in wraps)
            {
                if (KeyWrap.TryUnwrap(account.RecoveryPrivateKey.Span, bytes.Span, out KeyDomain? domain))
                {
                    copies.Add((domain, device));
                }
            }

            var told = new HashSet<string>();
            return [.. copies.GroupBy(static copy => copy.Domain.Id).Select(domain => KeyDomain.Union([.. domain], line =>
            {
                if (told.Add(line))
                {
                    note(line); // every anchor repeats it
                }
            }))];
        }
        finally
        {
            copies.ForEach(static copy => copy.Domain.Dispose());
        }
    }

    /// <summary>A small object whole; empty where there is none.</summary>
    internal static async ValueTask<byte[]> ReadObjectAsync(IFragmentHolder holder, string name, CancellationToken cancel)
    {
        HolderObject found = (await holder.ListObjectsAsync(name, cancel).ConfigureAwait(false)).FirstOrDefault(each => each.Name == name);
        if (found.Length > MaxObjectBytes)
        {
            throw new DamagedFormatException($"{name}: {found.Length} bytes, at most {MaxObjectBytes} expected");
        }

        byte[] bytes = new byte[found.Length];
        int read = 0;
        while (read < bytes.Length)
        {
            int part = await holder.ReadObjectAsync(name, read, bytes.AsMemory(read), cancel).ConfigureAwait(false);
            if (part == 0)
            {
                break;
            }

            read += part;
        }

        return bytes[..read];
    }
}
