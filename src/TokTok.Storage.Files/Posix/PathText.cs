using System.Globalization;
using System.Text;

namespace TokTok.Storage.Files.Posix;

/// <summary>Names and paths as people read them: UTF-8 as it is; control characters, backslashes and bytes that are not UTF-8 as \xNN.</summary>
public static class PathText
{
    public static string Show(ReadOnlySpan<byte> path)
    {
        var text = new StringBuilder(path.Length);
        while (!path.IsEmpty)
        {
            System.Buffers.OperationStatus status = Rune.DecodeFromUtf8(path, out Rune rune, out int bytes);
            if (status == System.Buffers.OperationStatus.Done && !Rune.IsControl(rune) && rune.Value != '\\' && Rune.GetUnicodeCategory(rune) != UnicodeCategory.Format)
            {
                _ = text.Append(rune.ToString());
            }
            else
            {
                for (int i = 0; i < bytes; i++)
                {
                    _ = text.Append(CultureInfo.InvariantCulture, $"\\x{path[i]:x2}");
                }
            }

            path = path[bytes..];
        }

        return text.ToString();
    }
}
