using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Files;
using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Mount.Tests.Fuse;

/// <summary>A volume in memory behind a dispatcher, asked as the kernel asks.</summary>
internal sealed class Requests : IAsyncDisposable
{
    private const uint User = 1000, Group = 1001;
    private readonly byte[] _reply = new byte[FuseDispatcher.MaxReplyBytes];
    private readonly Volume _volume;
    private ulong _unique;

    internal Requests(bool writebackCache = false, FuseWriters? writers = null)
    {
        var store = new MemoryVolumeStore();
        _volume = Volume.Create(store, "v", store.Realm, new SeededRandom(1));
        Tree = ActiveTree.Open(store, _volume, TimeProvider.System, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero });
        Dispatcher = new FuseDispatcher(Tree, cacheSeconds: 60, begun: said => Begun.Add(said), writebackCache: writebackCache, writers: writers);
    }

    internal ActiveTree Tree { get; }

    internal FuseDispatcher Dispatcher { get; }

    internal List<string?> Begun { get; } = [];

    public async ValueTask DisposeAsync()
    {
        await Tree.DisposeAsync();
        _volume.Dispose();
    }

    internal static byte[] Request(FuseOpcode opcode, ulong node, byte[] body, ulong unique)
    {
        byte[] request = new byte[FuseInHeader.Size + body.Length];
        MemoryMarshal.Write(request, new FuseInHeader { Length = (uint)request.Length, Opcode = opcode, Unique = unique, NodeId = node, UserId = User, GroupId = Group });
        body.CopyTo(request, FuseInHeader.Size);
        return request;
    }

    internal static byte[] Of<T>(T value, params string[] names)
        where T : unmanaged
    {
        byte[] head = new byte[Unsafe.SizeOf<T>()];
        MemoryMarshal.Write(head, value);
        return [.. head, .. Names(names)];
    }

    internal static byte[] Names(params string[] names) => [.. names.SelectMany(static name => Encoding.UTF8.GetBytes(name + '\0'))];

    /// <summary>What the kernel reads; null: no reply.</summary>
    internal (int Error, byte[] Body)? Ask(FuseOpcode opcode, ulong node, byte[] body)
    {
        int bytes = Dispatcher.Answer(Request(opcode, node, body, ++_unique), _reply);
        if (bytes == 0)
        {
            return null;
        }

        FuseOutHeader header = MemoryMarshal.Read<FuseOutHeader>(_reply);
        Assert.Equal((uint)bytes, header.Length);
        Assert.Equal(_unique, header.Unique);
        Assert.True(header.Error == 0 || bytes == FuseOutHeader.Size, "an error has no body");
        return (header.Error, _reply[FuseOutHeader.Size..bytes]);
    }

    internal int ErrorOf(FuseOpcode opcode, ulong node, byte[] body) => Ask(opcode, node, body)!.Value.Error;

    internal byte[] Bytes(FuseOpcode opcode, ulong node, byte[] body)
    {
        (int error, byte[] reply) = Ask(opcode, node, body)!.Value;
        Assert.Equal(0, error);
        return reply;
    }

    internal T Get<T>(FuseOpcode opcode, ulong node, byte[] body)
        where T : unmanaged
    {
        byte[] reply = Bytes(opcode, node, body);
        Assert.Equal(Unsafe.SizeOf<T>(), reply.Length);
        return MemoryMarshal.Read<T>(reply);
    }

    internal (FuseEntryOut Entry, ulong Handle) Create(string name)
    {
        byte[] reply = Bytes(FuseOpcode.Create, 1, Of(new FuseCreateIn { Flags = 2, Mode = 0x81a4 }, name));
        Assert.Equal(Unsafe.SizeOf<FuseEntryOut>() + Unsafe.SizeOf<FuseOpenOut>(), reply.Length);
        return (MemoryMarshal.Read<FuseEntryOut>(reply), MemoryMarshal.Read<FuseOpenOut>(reply.AsSpan(Unsafe.SizeOf<FuseEntryOut>())).Handle);
    }

    internal void Write(ulong handle, ulong offset, byte[] bytes) =>
        Assert.Equal((uint)bytes.Length, Get<FuseSizeOut>(FuseOpcode.Write, 0, [.. Of(new FuseTransferIn { Handle = handle, Offset = offset, Size = (uint)bytes.Length }), .. bytes]).Size);
}
