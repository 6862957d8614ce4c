using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>Who revokes whom among the devices of one account: what of its statements is remembered, and which devices are revoked by it.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.11, docs/format.md 17.2. The pairs alone decide (docs/format.md 10.1): the lowest signer is heard first, and whom it revokes says nothing more. Beyond <see cref="Revocation.MaxCount"/> those that are heard come before
/// those that are not, lower signers before higher ones, so that nobody who was revoked can fill the room of who revoked it. Immutable.
/// </remarks>
internal sealed class RevokedDevices
{
    internal static readonly RevokedDevices None = new([]);

    internal const string Suffix = ".statements";

    private const int PairSize = 2 * sizeof(uint);
    private const int MagicSize = 8;
    private const int ChecksumSize = 4;
    private const int MaxFileBytes = MagicSize + sizeof(ushort) + (Revocation.MaxCount * PairSize) + ChecksumSize;

    private readonly (uint Signer, uint Device)[] _pairs; // ascending
    private readonly HashSet<uint> _revoked = [];

    private RevokedDevices(IEnumerable<(uint Signer, uint Device)> pairs)
    {
        var unheard = new List<(uint Signer, uint Device)>();
        var heard = new List<(uint Signer, uint Device)>();
        // One signer after another: what the lower ones said is known by then, and nobody speaks of himself.
        foreach ((uint signer, uint device) in pairs.Where(static pair => pair.Signer != pair.Device).Distinct().Order())
        {
            if (_revoked.Contains(signer))
            {
                unheard.Add((signer, device));
            }
            else
            {
                heard.Add((signer, device));
                _revoked.Add(device);
            }
        }

        _pairs = [.. heard.Concat(unheard).Take(Revocation.MaxCount).Order()];
        if (heard.Count > Revocation.MaxCount)
        {
            _revoked = [.. heard.Take(Revocation.MaxCount).Select(static pair => pair.Device)]; // what is not remembered holds nowhere
        }
    }

    internal IReadOnlyList<(uint Signer, uint Device)> Pairs => _pairs;

    private static ReadOnlySpan<byte> Magic => "TDFSSTM1"u8;

    internal bool Has(uint device) => _revoked.Contains(device);

    /// <summary>With what was said besides; this object itself where that is no news.</summary>
    internal RevokedDevices With(IEnumerable<(uint Signer, uint Device)> said)
    {
        var all = new RevokedDevices(_pairs.Concat(said));
        return all._pairs.AsSpan().SequenceEqual(_pairs) ? this : all;
    }

    /// <summary>Whether a device is revoked here that is not by another state of it.</summary>
    internal bool RevokesMoreThan(RevokedDevices before) => _revoked.Any(device => !before.Has(device));

    /// <summary>What a folder has of an account; none where there is nothing. What cannot be read is put aside.</summary>
    internal static RevokedDevices ReadFile(IDisk disk, string folder, string name, Action<string>? trouble)
    {
        string path = PathOf(folder, name);
        try
        {
            byte[] file = new byte[MaxFileBytes + 1];
            int length;
            using (IDiskFile open = disk.Open(path, DiskOpen.Read))
            {
                length = open.Read(0, file);
            }

            return Read(file.AsSpan(0, length), path);
        }
        catch (DiskException missing) when (missing.Failure == DiskFailure.NotFound)
        {
            return None;
        }
        catch (DamagedFormatException damage)
        {
            disk.Rename(path, path + ".bad");
            disk.SyncDirectory(folder);
            trouble?.Invoke($"{damage.Message}; it is put aside, and its account says anew which devices it revoked");
            return None;
        }
    }

    /// <summary>Durable on return.</summary>
    internal void WriteFile(IDisk disk, string folder, string name) => WholeFile.Write(disk, folder, PathOf(folder, name), Write());

    /// <exception cref="DamagedFormatException">Not exactly one file of this form.</exception>
    internal static RevokedDevices Read(ReadOnlySpan<byte> file, string path)
    {
        var reader = new FieldReader(file, path);
        reader.Magic(Magic);
        int count = reader.U16();
        if (count > Revocation.MaxCount)
        {
            throw reader.Damaged($"{count} pairs, at most {Revocation.MaxCount} expected");
        }

        var pairs = new (uint Signer, uint Device)[count];
        for (int i = 0; i < count; i++)
        {
            pairs[i] = (reader.U32(), reader.U32());
            if (pairs[i].Signer == pairs[i].Device || (i > 0 && pairs[i].CompareTo(pairs[i - 1]) <= 0))
            {
                throw reader.Damaged($"found device {pairs[i].Device} revoked by {pairs[i].Signer}, expected pairs of two, ascending");
            }
        }

        int end = reader.Position;
        if (!reader.Bytes(ChecksumSize).SequenceEqual(Checksum(file[..end])))
        {
            throw reader.Damaged("the checksum does not match");
        }

        reader.End();
        return new RevokedDevices(pairs);
    }

    internal byte[] Write()
    {
        byte[] file = new byte[MagicSize + sizeof(ushort) + (_pairs.Length * PairSize) + ChecksumSize];
        Magic.CopyTo(file);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(MagicSize), (ushort)_pairs.Length);
        int at = MagicSize + sizeof(ushort);
        foreach ((uint signer, uint device) in _pairs)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), signer);
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at + sizeof(uint)), device);
            at += PairSize;
        }

        Checksum(file.AsSpan(0, at)).CopyTo(file.AsSpan(at));
        return file;
    }

    private static string PathOf(string folder, string name) => folder + "/" + name + Suffix;

    private static byte[] Checksum(ReadOnlySpan<byte> bytes)
    {
        byte[] hash = new byte[Blake3.HashSize];
        Blake3.Hash(bytes, hash);
        return hash[..ChecksumSize];
    }
}
