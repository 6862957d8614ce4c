using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Runtime.InteropServices;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A volume served by the real command, killed, and served again.</summary>
public sealed class WebDavDrillTests
{
    [Fact(Timeout = 300_000)]
    public async Task What_was_uploaded_before_a_kill_is_there_after_it_and_the_token_is_the_same()
    {
        using var store = new DrillStore(1);
        await store.InitAsync();
        byte[] large = new byte[6_000_000];
        new Random(1).NextBytes(large);
        string token;
        using (Process first = store.Start(["webdav", "--create", "work", "--listen", "127.0.0.1:0"]))
        {
            using HttpClient client = await ClientAsync(store, first);
            token = client.DefaultRequestHeaders.Authorization!.Parameter!;
            Assert.Matches("^[a-z2-7]{8}(\\.[a-z2-7]{8}){3}$", token);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(store.State + "/webdav-token"));
            Assert.Equal(HttpStatusCode.Created, (await client.PutAsync("/small", new ByteArrayContent([1, 2, 3]), DrillStore.Cancel)).StatusCode);
            Assert.Equal(HttpStatusCode.Created, (await client.PutAsync("/large", new ByteArrayContent(large), DrillStore.Cancel)).StatusCode);
            first.Kill();
            await first.WaitForExitAsync(DrillStore.Cancel);
        }

        using (Process second = store.Start(["webdav", "--listen", "127.0.0.1:0"]))
        {
            using HttpClient client = await ClientAsync(store, second);
            Assert.Equal(token, client.DefaultRequestHeaders.Authorization!.Parameter);
            Assert.Equal([1, 2, 3], await client.GetByteArrayAsync("/small", DrillStore.Cancel));
            Assert.Equal(large, await client.GetByteArrayAsync("/large", DrillStore.Cancel));
            Assert.Equal(HttpStatusCode.Created, (await client.SendAsync(new HttpRequestMessage(new HttpMethod("MKCOL"), "/folder"), DrillStore.Cancel)).StatusCode);
            Assert.Equal(0, Kill(second.Id, 15));
            await second.WaitForExitAsync(DrillStore.Cancel);
            Assert.Equal(0, second.ExitCode);
        }

        using (Process third = store.Start(["webdav", "work", "--listen", "127.0.0.1:0"]))
        {
            using HttpClient client = await ClientAsync(store, third);
            Assert.Contains("/folder/", await client.GetStringAsync("/", DrillStore.Cancel));
            Assert.Equal(0, Kill(third.Id, 15));
            await third.WaitForExitAsync(DrillStore.Cancel);
        }

        await store.AssertCleanAsync();
    }

    [Fact(Timeout = 300_000)]
    public async Task A_node_shows_one_volume_by_mount_and_by_WebDAV_and_both_see_the_same()
    {
        MountDrill.SkipWithoutFuse();
        string point = Directory.CreateTempSubdirectory("tdfs-drive-").FullName;
        using var store = new DrillStore(1, $"[[mount]]\nvolume = \"work\"\npath = \"{point}\"\n[webdav]\nlisten = \"127.0.0.1:0\"\nvolumes = [\"photos\"]\n[keys]\nunlock-for = \"0s\"\n");
        await store.InitAsync();
        try
        {
            using Process node = store.Start(["up"]);
            using HttpClient client = await ClientAsync(store, node, until: 2);
            Assert.Equal(HttpStatusCode.Created, (await client.PutAsync("/work/uploaded", new ByteArrayContent([1, 2, 3]), DrillStore.Cancel)).StatusCode);
            await MountDrill.ShellAsync("cd $1; test $(stat -c %s uploaded) = 3; mkdir d; echo mounted > d/f", point);
            Assert.Equal("mounted\n", await client.GetStringAsync("/work/d/f", DrillStore.Cancel));
            Assert.Equal(HttpStatusCode.Created, (await client.PutAsync("/photos/p", new ByteArrayContent([4]), DrillStore.Cancel)).StatusCode);
            (await store.RunAsync("snapshot", "photos", "--label", "one")).Expect(0);
            Assert.Equal([4], await client.GetByteArrayAsync("/photos/.snapshots/one/p", DrillStore.Cancel));
            await MountDrill.ShellAsync("umount $1", point);
            Assert.Equal("mounted\n", await client.GetStringAsync("/work/d/f", DrillStore.Cancel)); // the volume is still open there
            Assert.Equal(0, Kill(node.Id, 15));
            await node.WaitForExitAsync(DrillStore.Cancel);
            await store.AssertCleanAsync();
        }
        finally
        {
            await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int Kill(int process, int signal);

    /// <param name="until">So many lines say that everything is there, in any order; one of them where it is served.</param>
    private static async Task<HttpClient> ClientAsync(DrillStore store, Process process, int until = 1)
    {
        const string At = " served at ";
        string line = "";
        for (int seen = 0; seen < until;)
        {
            string? next = await process.StandardError.ReadLineAsync(DrillStore.Cancel);
            seen += next is null ? until : next.Contains(At, StringComparison.Ordinal) || next.Contains(" is mounted on ", StringComparison.Ordinal) ? 1 : 0;
            line = next?.Contains(At, StringComparison.Ordinal) == true ? next : line;
        }

        if (line.Length == 0)
        {
            process.Kill();
            Assert.Fail($"{line}\n{await process.StandardError.ReadToEndAsync(DrillStore.Cancel)}");
        }

        string url = line[(line.IndexOf(At, StringComparison.Ordinal) + At.Length)..line.IndexOf(';', StringComparison.Ordinal)];
        string token = await File.ReadAllTextAsync(store.State + "/webdav-token", DrillStore.Cancel);
        return new HttpClient { BaseAddress = new Uri(url), DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", token) } };
    }
}
