using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Node.Repair;

/// <summary>A holder that a capability names.</summary>
/// <param name="DeviceKey">All zero: a folder, which nobody else reaches.</param>
/// <param name="Place">Holders that burn down together have one number.</param>
/// <param name="TakesMore">Fragments may be put there.</param>
public sealed record RepairHolder(HolderId Id, Bytes32 DeviceKey, Bytes32 AccountKey, int Place, bool TakesMore, IReadOnlyList<string> Addresses);

/// <summary>An arena that a capability names, and where its fragments lie: a holder by its place in the list, or <see cref="RepairCapability.Nowhere"/>.</summary>
public sealed record RepairArena(RepairEntry Entry, ReadOnlyMemory<byte> Signature, IReadOnlyList<ushort> Places)
{
    /// <summary>What stands before a request about it.</summary>
    internal byte[] Prefix()
    {
        var writer = new FieldWriter(sizeof(ushort) + RepairEntry.FixedBytes + (Entry.Names.Count * FragmentName.Size) + Ed25519.SignatureSize);
        writer.U16((ushort)(RepairEntry.FixedBytes + (Entry.Names.Count * FragmentName.Size)));
        Entry.Write(writer);
        writer.Bytes(Signature.Span);
        return writer.ToArray();
    }
}

/// <summary>What one friend needs to repair an account's arenas without any key.</summary>
/// <remarks>Format: docs/format.md 17.7. What was read is whole, and signed by the device that its grant names; whether that device is anybody's whom the reader knows is the reader's question.</remarks>
public sealed class RepairCapability
{
    public const ushort Nowhere = ushort.MaxValue;
    public const int MaxBytes = HeadBytes + MaxContents + Ed25519.SignatureSize + Blake3.HashSize;

    internal const int MaxContents = 256 * 1024 * 1024;
    internal const int MaxHolders = 1024;
    internal const int MaxArenas = 4_194_304;

    private const int HeadBytes = 8 + sizeof(uint);

    public required RepairGrant Grant { get; init; }

    public required IReadOnlyList<RepairHolder> Holders { get; init; }

    /// <summary>Ascending by id.</summary>
    public required IReadOnlyList<RepairArena> Arenas { get; init; }

    private static ReadOnlySpan<byte> Magic => "TDFSREP1"u8;

    private static ReadOnlySpan<byte> Context => "TDFS repair capability v1"u8;

    /// <summary>The file, signed.</summary>
    /// <exception cref="InvalidOperationException">There is more than a file holds.</exception>
    public static byte[] Write(RepairGrant grant, DeviceKeys device, IReadOnlyList<RepairHolder> holders, IEnumerable<(RepairEntry Entry, IReadOnlyList<ushort> Places)> arenas)
    {
        ArgumentNullException.ThrowIfNull(grant);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(holders);
        (RepairEntry Entry, IReadOnlyList<ushort> Places)[] ordered = [.. arenas.OrderBy(static each => each.Entry.Id, Comparer<ArenaId>.Create(PeerRoom.Compare))];
        if (holders.Count > MaxHolders || ordered.Length > MaxArenas)
        {
            throw new InvalidOperationException($"{holders.Count} holders and {ordered.Length} arenas, at most {MaxHolders} and {MaxArenas} go into one capability");
        }

        var entry = new FieldWriter(RepairEntry.MaxBytes);
        var made = new RepairCapability { Grant = grant, Holders = holders, Arenas = [.. ordered.Select(each => new RepairArena(each.Entry, Signed(each.Entry), each.Places))] };
        return Envelope(device, made.WriteContents);

        byte[] Signed(RepairEntry each)
        {
            entry.Clear();
            each.Write(entry);
            return RepairEntry.Sign(device, grant.Friend, entry.Written);
        }
    }

    /// <exception cref="DamagedFormatException">Not a capability, or one that is not whole.</exception>
    /// <exception cref="NotSignedException">It is whole, and not signed by the device that it names.</exception>
    public static RepairCapability Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "repair capability");
        reader.Magic(Magic);
        int count = reader.Count(MaxContents, "its length");
        ReadOnlySpan<byte> contents = reader.Bytes(count);
        ReadOnlySpan<byte> signature = reader.Bytes(Ed25519.SignatureSize);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(source[..reader.Position], hash);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(hash))
        {
            throw reader.Damaged("its checksum does not match: it was changed, or not copied whole");
        }

        reader.End();
        RepairCapability read = ReadContents(contents);
        return read.Grant.IsSigned() && Ed25519.Verify(read.Grant.Certificate.DevicePublicKey, [.. Context, .. source[..(HeadBytes + count)]], signature)
            ? read
            : throw new NotSignedException("repair capability: it is not signed by the device that it names");
    }

    /// <summary>The contents alone, whose checks are the whole's: for tests that change them.</summary>
    internal static RepairCapability ReadContents(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "repair capability");
        int grantBytes = reader.U16();
        if (grantBytes > RepairGrant.MaxBytes)
        {
            throw reader.Damaged($"a grant of {grantBytes} bytes, at most {RepairGrant.MaxBytes} expected");
        }

        RepairGrant grant = RepairGrant.Read(reader.Bytes(grantBytes));
        int holderCount = reader.U16();
        if (holderCount > MaxHolders)
        {
            throw reader.Damaged($"{holderCount} holders, at most {MaxHolders} expected");
        }

        var holders = new List<RepairHolder>();
        var ids = new HashSet<HolderId>();
        for (int i = 0; i < holderCount; i++)
        {
            holders.Add(ReadHolder(ref reader));
            if (!ids.Add(holders[i].Id))
            {
                throw reader.Damaged($"holder {holders[i].Id} stands in it twice");
            }
        }

        int arenaCount = reader.Count(MaxArenas, "the count of arenas");
        var arenas = new List<RepairArena>();
        for (int i = 0; i < arenaCount; i++)
        {
            RepairEntry entry = RepairEntry.Read(ref reader);
            if (i > 0 && PeerRoom.Compare(entry.Id, arenas[^1].Entry.Id) <= 0)
            {
                throw reader.Damaged($"arena {entry.Id} is out of order");
            }

            byte[] signature = reader.Bytes(Ed25519.SignatureSize).ToArray();
            var places = new ushort[entry.Names.Count];
            for (int at = 0; at < places.Length; at++)
            {
                places[at] = reader.U16();
                if (places[at] != Nowhere && places[at] >= holderCount)
                {
                    throw reader.Damaged($"fragment {at} of arena {entry.Id} lies at holder {places[at]} of {holderCount}");
                }
            }

            arenas.Add(new RepairArena(entry, signature, places));
        }

        reader.End();
        return new RepairCapability { Grant = grant, Holders = holders, Arenas = arenas };
    }

    internal void WriteContents(FieldWriter writer)
    {
        writer.U16((ushort)Grant.Bytes.Length);
        writer.Bytes(Grant.Bytes);
        writer.U16((ushort)Holders.Count);
        foreach (RepairHolder holder in Holders)
        {
            WriteHolder(writer, holder);
        }

        writer.U32((uint)Arenas.Count);
        foreach (RepairArena arena in Arenas)
        {
            arena.Entry.Write(writer);
            writer.Bytes(arena.Signature.Span);
            foreach (ushort place in arena.Places)
            {
                writer.U16(place);
            }
        }
    }

    /// <summary>Contents as they stand, in a file that is whole and signed.</summary>
    private static byte[] Envelope(DeviceKeys device, Action<FieldWriter> contents)
    {
        var writer = new FieldWriter(4096);
        writer.Bytes(Magic);
        writer.U32(0);
        contents(writer);
        byte[] file = new byte[writer.Length + Ed25519.SignatureSize + Blake3.HashSize];
        writer.Written.CopyTo(file);
        int count = writer.Length - HeadBytes;
        if (count > MaxContents)
        {
            throw new InvalidOperationException($"{count} bytes, at most {MaxContents} go into one capability");
        }

        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(8), (uint)count);
        device.Sign([.. Context, .. file.AsSpan(0, writer.Length)], file.AsSpan(writer.Length, Ed25519.SignatureSize));
        Blake3.Hash(file.AsSpan(0, file.Length - Blake3.HashSize), file.AsSpan(file.Length - Blake3.HashSize));
        return file;
    }

    private static void WriteHolder(FieldWriter writer, RepairHolder holder)
    {
        holder.Id.Write(writer.Take(HolderId.Size));
        holder.DeviceKey.Write(writer.Take(Bytes32.Size));
        holder.AccountKey.Write(writer.Take(Bytes32.Size));
        writer.U16((ushort)holder.Place);
        writer.U8((byte)(holder.TakesMore ? 1 : 0));
        writer.U8((byte)holder.Addresses.Count);
        foreach (string address in holder.Addresses)
        {
            writer.ShortText(address);
        }
    }

    private static RepairHolder ReadHolder(ref FieldReader reader)
    {
        HolderId id = HolderId.Read(reader.Bytes(HolderId.Size));
        Bytes32 device = Bytes32.Read(reader.Bytes(Bytes32.Size));
        Bytes32 account = Bytes32.Read(reader.Bytes(Bytes32.Size));
        int place = reader.U16();
        byte flags = reader.U8();
        int count = reader.U8();
        if (flags > 1 || count > Peer.MaxAddresses)
        {
            throw reader.Damaged($"found flags {flags} and {count} addresses of holder {id}, expected flags 0 or 1 and at most {Peer.MaxAddresses} addresses");
        }

        var addresses = new string[count];
        for (int i = 0; i < count; i++)
        {
            addresses[i] = reader.ShortText("an address");
            if (addresses[i].Length is 0 or > Peer.MaxAddressCharacters || !NodeAddress.TryParse(addresses[i], out _))
            {
                throw reader.Damaged($"an address of holder {id} is none");
            }
        }

        return new RepairHolder(id, device, account, place, flags == 1, addresses);
    }
}

/// <summary>Something whole whose signature is not that of whom it names.</summary>
public sealed class NotSignedException(string message) : Exception(message);
