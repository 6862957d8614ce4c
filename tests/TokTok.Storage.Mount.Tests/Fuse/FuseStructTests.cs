using System.Runtime.CompilerServices;
using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Mount.Tests.Fuse;

/// <summary>The structs against the sizes that a C compiler gives those of fuse.h.</summary>
public sealed class FuseStructTests
{
    [Fact]
    public void Each_struct_has_the_size_that_the_kernel_expects()
    {
        Assert.Equal(FuseInHeader.Size, Unsafe.SizeOf<FuseInHeader>());
        Assert.Equal(40, FuseInHeader.Size);
        Assert.Equal(FuseOutHeader.Size, Unsafe.SizeOf<FuseOutHeader>());
        Assert.Equal(16, FuseOutHeader.Size);
        Assert.Equal(16, Unsafe.SizeOf<FuseInitIn>());
        Assert.Equal(64, Unsafe.SizeOf<FuseInitOut>());
        Assert.Equal(88, Unsafe.SizeOf<FuseAttr>());
        Assert.Equal(128, Unsafe.SizeOf<FuseEntryOut>());
        Assert.Equal(104, Unsafe.SizeOf<FuseAttrOut>());
        Assert.Equal(16, Unsafe.SizeOf<FuseForgetOne>());
        Assert.Equal(8, Unsafe.SizeOf<FuseBatchForgetIn>());
        Assert.Equal(16, Unsafe.SizeOf<FuseMkNodIn>());
        Assert.Equal(8, Unsafe.SizeOf<FuseMkDirIn>());
        Assert.Equal(16, Unsafe.SizeOf<FuseRename2In>());
        Assert.Equal(88, Unsafe.SizeOf<FuseSetAttrIn>());
        Assert.Equal(8, Unsafe.SizeOf<FuseOpenIn>());
        Assert.Equal(16, Unsafe.SizeOf<FuseCreateIn>());
        Assert.Equal(16, Unsafe.SizeOf<FuseOpenOut>());
        Assert.Equal(24, Unsafe.SizeOf<FuseReleaseIn>());
        Assert.Equal(FuseTransferIn.Bytes, Unsafe.SizeOf<FuseTransferIn>());
        Assert.Equal(40, FuseTransferIn.Bytes);
        Assert.Equal(8, Unsafe.SizeOf<FuseSizeOut>());
        Assert.Equal(80, Unsafe.SizeOf<FuseStatFsOut>());
        Assert.Equal(24, Unsafe.SizeOf<FuseForgetInode>());
        Assert.Equal(16, Unsafe.SizeOf<FuseForgetName>());
        Assert.Equal(16, Unsafe.SizeOf<FuseFsyncIn>());
        Assert.Equal(8, Unsafe.SizeOf<FuseSetXattrIn>());
        Assert.Equal(8, Unsafe.SizeOf<FuseGetXattrIn>());
        Assert.Equal(32, Unsafe.SizeOf<FuseFallocateIn>());
        Assert.Equal(24, Unsafe.SizeOf<FuseLseekIn>());
        Assert.Equal(56, Unsafe.SizeOf<FuseCopyFileRangeIn>());
        Assert.Equal(FuseDirent.Size, Unsafe.SizeOf<FuseDirent>());
        Assert.Equal(24, FuseDirent.Size);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 3)]
    [InlineData(8, 255)]
    [InlineData(8, 256)]
    [InlineData(4095, 0xfffff)]
    public void A_device_number_survives_the_kernels_encoding(uint major, uint minor) =>
        Assert.Equal((major, minor), FuseReplies.DecodeDevice(FuseReplies.EncodeDevice(major, minor)));
}
