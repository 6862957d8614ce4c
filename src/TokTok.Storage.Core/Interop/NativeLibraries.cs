using System.Reflection;
using System.Runtime.InteropServices;

namespace TokTok.Storage.Core.Interop;

/// <summary>Finds the three C libraries that Core calls, under the names each system gives them.</summary>
/// <remarks>A file beside the program wins over the system's, so that a release can bring its own.
/// One resolver serves the assembly (the runtime allows one), installed by the static constructor of each interop class.</remarks>
internal static class NativeLibraries
{
    internal const string Sodium = "libsodium";
    internal const string Zstd = "libzstd";
    internal const string Crypto = "libcrypto";

    private static readonly Lazy<bool> s_installed = new(() =>
    {
        NativeLibrary.SetDllImportResolver(typeof(NativeLibraries).Assembly, ResolveOrExplain);
        return true;
    });

    /// <summary>Installs the resolver once; every later call does nothing.</summary>
    internal static void Install() => _ = s_installed.Value;

    /// <summary>The runtime's callback. Throws the one message a person can act on when a library is not there.</summary>
    internal static nint ResolveOrExplain(string library, Assembly assembly, DllImportSearchPath? searchPath)
    {
        nint handle = Resolve(library);
        if (handle != 0)
        {
            return handle;
        }

        string packages = library switch
        {
            Sodium => "libsodium (Debian and Ubuntu: libsodium23; Fedora and Homebrew: libsodium)",
            Zstd => "zstd (Debian and Ubuntu: libzstd1; Fedora: libzstd; Homebrew: zstd)",
            _ => library,
        };
        throw new DllNotFoundException($"{library} is not installed: install {packages}, or put the library beside the program.");
    }

    internal static nint Resolve(string library)
    {
        string[] names = library switch
        {
            Sodium => ["libsodium.so.26", "libsodium.so.23", "libsodium.so", "libsodium.dylib", "libsodium.dll"],
            Zstd => ["libzstd.so.1", "libzstd.so", "libzstd.dylib", "libzstd.dll"],
            Crypto => ["libcrypto.so.3"],
            _ => [],
        };
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(Path.Combine(AppContext.BaseDirectory, name), out nint handle) || NativeLibrary.TryLoad(name, out handle))
            {
                return handle;
            }
        }

        if (OperatingSystem.IsMacOS())
        {
            // Homebrew's folders are on no default search path.
            foreach (string folder in (string[])["/opt/homebrew/lib", "/usr/local/lib"])
            {
                if (NativeLibrary.TryLoad(Path.Combine(folder, library + ".dylib"), out nint handle))
                {
                    return handle;
                }
            }
        }

        return 0;
    }
}
