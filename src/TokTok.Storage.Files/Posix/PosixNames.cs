using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;

namespace TokTok.Storage.Files.Posix;

/// <summary>Users and groups by number and by name, through the C library (so LDAP and the like answer too), each asked once.</summary>
internal sealed unsafe class PosixNames
{
    private const int MaxRecordBytes = 1024 * 1024;
    private readonly ConcurrentDictionary<uint, string> _users = new();
    private readonly ConcurrentDictionary<uint, string> _groups = new();
    private readonly ConcurrentDictionary<string, long> _userNumbers = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, long> _groupNumbers = new(StringComparer.Ordinal);

    /// <summary>The user's name, empty when the number has none.</summary>
    internal string UserName(uint uid) => _users.TryGetValue(uid, out string? name) ? name : _users.GetOrAdd(uid, static id => NameOf(id, isGroup: false));

    internal string GroupName(uint gid) => _groups.TryGetValue(gid, out string? name) ? name : _groups.GetOrAdd(gid, static id => NameOf(id, isGroup: true));

    /// <summary>The number that the name has on this machine, otherwise the number given.</summary>
    internal uint UserNumber(string name, uint otherwise) => Number(_userNumbers, name, otherwise, isGroup: false);

    internal uint GroupNumber(string name, uint otherwise) => Number(_groupNumbers, name, otherwise, isGroup: true);

    private static uint Number(ConcurrentDictionary<string, long> known, string name, uint otherwise, bool isGroup)
    {
        if (name.Length == 0 || name.Contains('\0', StringComparison.Ordinal))
        {
            return otherwise;
        }

        if (!known.TryGetValue(name, out long number))
        {
            number = NumberOf(Encoding.UTF8.GetBytes(name), isGroup);
            known[name] = number;
        }

        return number < 0 ? otherwise : (uint)number;
    }

    private static string NameOf(uint id, bool isGroup)
    {
        for (int size = 4096; size <= MaxRecordBytes; size *= 4)
        {
            byte[] buffer = new byte[size];
            fixed (byte* first = buffer)
            {
                NameRecord record;
                NameRecord* result;
                int error = isGroup
                    ? Libc.getgrgid_r(id, &record, first, (nuint)size, &result)
                    : Libc.getpwuid_r(id, &record, first, (nuint)size, &result);
                if (error == Errno.ERANGE)
                {
                    continue;
                }

                return error != 0 || result == null ? "" : Text(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(record.Name));
            }
        }

        return "";
    }

    // A name that an entry cannot hold is left out; the number remains.
    private static string Text(ReadOnlySpan<byte> name) =>
        System.Text.Unicode.Utf8.IsValid(name) && name.Length <= EntryLimits.MaxOwnerBytes ? Encoding.UTF8.GetString(name) : "";

    private static long NumberOf(ReadOnlySpan<byte> name, bool isGroup)
    {
        byte[] terminated = new byte[name.Length + 1];
        name.CopyTo(terminated);
        for (int size = 4096; size <= MaxRecordBytes; size *= 4)
        {
            byte[] buffer = new byte[size];
            fixed (byte* first = buffer, key = terminated)
            {
                NameRecord record;
                NameRecord* result;
                int error = isGroup
                    ? Libc.getgrnam_r(key, &record, first, (nuint)size, &result)
                    : Libc.getpwnam_r(key, &record, first, (nuint)size, &result);
                if (error == Errno.ERANGE)
                {
                    continue;
                }

                return error != 0 || result == null ? -1 : record.Id;
            }
        }

        return -1;
    }
}
