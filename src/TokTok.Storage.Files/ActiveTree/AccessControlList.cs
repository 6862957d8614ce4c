using System.Buffers.Binary;

namespace TokTok.Storage.Files;

/// <summary>POSIX access control lists in the form in which they are extended attributes, and what they and a file's mode say of each other.</summary>
/// <remarks>
/// Source: POSIX.1e draft 17, 23.1; Linux, include/uapi/linux/posix_acl_xattr.h (version 2) and fs/posix_acl.c, whose rules these are.
/// Bytes: a version of four, then for each entry a tag of two, permissions of two (read 4, write 2, execute 1) and a user's or group's number of four, all little-endian.
/// The owner's entry stands first; named users, the group, named groups, the mask and the others follow in this order. The mask is there where anybody is named.
/// A list says what the mode says, so setting either changes the other: the mode's group bits are the mask's, or the group's where there is no mask. A list without names and mask
/// says nothing that the mode does not, and is not kept.
/// </remarks>
internal static class AccessControlList
{
    private const uint Version = 2;
    private const int HeadBytes = 4;
    private const int EntryBytes = 8;
    private const uint NamedByNobody = 0xffff_ffff;

    private enum Tag : ushort
    {
        Owner = 1,
        User = 2,
        OwningGroup = 4,
        Group = 8,
        Mask = 0x10,
        Other = 0x20,
    }

    /// <summary>Who may do what with the file.</summary>
    internal static ReadOnlySpan<byte> AccessName => "system.posix_acl_access"u8;

    /// <summary>Of a directory: what new files in it begin with.</summary>
    internal static ReadOnlySpan<byte> DefaultName => "system.posix_acl_default"u8;

    internal static bool IsName(ReadOnlySpan<byte> name) => name.SequenceEqual(AccessName) || name.SequenceEqual(DefaultName);

    /// <summary>Whether these bytes are a list: entries in their order, each that must be there once.</summary>
    internal static bool IsValid(ReadOnlySpan<byte> list)
    {
        if (list.Length < HeadBytes + (3 * EntryBytes) || (list.Length - HeadBytes) % EntryBytes != 0 || BinaryPrimitives.ReadUInt32LittleEndian(list) != Version)
        {
            return false;
        }

        Tag before = 0;
        bool hasNames = false;
        uint seen = 0;
        for (int at = HeadBytes; at < list.Length; at += EntryBytes)
        {
            Tag tag = TagAt(list, at);
            bool isNamed = tag is Tag.User or Tag.Group;
            bool isKnown = isNamed || tag is Tag.Owner or Tag.OwningGroup or Tag.Mask or Tag.Other;
            bool isInOrder = isNamed ? tag >= before : tag > before;
            bool hasNumber = BinaryPrimitives.ReadUInt32LittleEndian(list[(at + 4)..]) != NamedByNobody;
            if (!isKnown || !isInOrder || PermissionsAt(list, at) > 7 || (isNamed && !hasNumber))
            {
                return false;
            }

            hasNames |= isNamed;
            seen |= (uint)tag;
            before = tag;
        }

        const uint Needed = (uint)(Tag.Owner | Tag.OwningGroup | Tag.Other);
        return (seen & Needed) == Needed && (!hasNames || (seen & (uint)Tag.Mask) != 0);
    }

    /// <summary>The mode of a file that has the list.</summary>
    /// <param name="list">A valid one.</param>
    /// <param name="isMinimal">The mode alone says as much.</param>
    internal static uint ModeOf(ReadOnlySpan<byte> list, uint mode, out bool isMinimal)
    {
        isMinimal = true;
        uint permissions = 0;
        for (int at = HeadBytes; at < list.Length; at += EntryBytes)
        {
            uint granted = PermissionsAt(list, at);
            switch (TagAt(list, at))
            {
                case Tag.Owner:
                    permissions |= granted << 6;
                    break;
                case Tag.OwningGroup:
                    permissions |= granted << 3;
                    break;
                case Tag.Mask:
                    permissions = (permissions & ~0x38u) | (granted << 3);
                    isMinimal = false;
                    break;
                case Tag.Other:
                    permissions |= granted;
                    break;
                default:
                    isMinimal = false;
                    break;
            }
        }

        return (mode & ~0x1ffu) | permissions;
    }

    /// <summary>The list after chmod.</summary>
    internal static byte[] WithMode(ReadOnlySpan<byte> list, uint mode)
    {
        byte[] changed = list.ToArray();
        bool hasMask = HasMask(list);
        for (int at = HeadBytes; at < changed.Length; at += EntryBytes)
        {
            Tag tag = TagAt(changed, at);
            int shift = ShiftOf(tag, hasMask);
            if (shift >= 0)
            {
                Put(changed, at, (mode >> shift) & 7);
            }
        }

        return changed;
    }

    /// <summary>What a new file begins with in a directory that has a default list: no more than its maker asked for, and than the list grants.</summary>
    /// <param name="defaults">The directory's.</param>
    /// <param name="mode">As asked for, no umask applied; then as it becomes.</param>
    /// <returns>The file's own list; null: its mode says it all.</returns>
    internal static byte[]? Inherit(ReadOnlySpan<byte> defaults, ref uint mode)
    {
        byte[] own = defaults.ToArray();
        bool hasMask = HasMask(defaults);
        for (int at = HeadBytes; at < own.Length; at += EntryBytes)
        {
            int shift = ShiftOf(TagAt(own, at), hasMask);
            if (shift >= 0)
            {
                uint granted = PermissionsAt(own, at) & (mode >> shift);
                Put(own, at, granted & 7);
                mode &= (granted << shift) | ~(7u << shift);
            }
        }

        _ = ModeOf(own, mode, out bool isMinimal);
        return isMinimal ? null : own;
    }

    private static bool HasMask(ReadOnlySpan<byte> list)
    {
        for (int at = HeadBytes; at < list.Length; at += EntryBytes)
        {
            if (TagAt(list, at) == Tag.Mask)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Where the mode has an entry's bits; -1: nowhere.</summary>
    private static int ShiftOf(Tag tag, bool hasMask) => tag switch
    {
        Tag.Owner => 6,
        Tag.OwningGroup => hasMask ? -1 : 3,
        Tag.Mask => 3,
        Tag.Other => 0,
        _ => -1,
    };

    private static Tag TagAt(ReadOnlySpan<byte> list, int at) => (Tag)BinaryPrimitives.ReadUInt16LittleEndian(list[at..]);

    private static uint PermissionsAt(ReadOnlySpan<byte> list, int at) => BinaryPrimitives.ReadUInt16LittleEndian(list[(at + 2)..]);

    private static void Put(Span<byte> list, int at, uint permissions) => BinaryPrimitives.WriteUInt16LittleEndian(list[(at + 2)..], (ushort)permissions);
}
