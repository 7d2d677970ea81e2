<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="zh_CN" sourcelanguage="en_US">
    <context>
        <name>ActionRow</name>
        <message>
            <source>Copied</source>
            <translation>已复制</translation>
        </message>
        <message>
            <source>Copy</source>
            <translation>复制</translation>
        </message>
        <message>
            <source>Copy this message</source>
            <translation>复制这条消息</translation>
        </message>
        <message>
            <source>Edit</source>
            <translation>编辑</translation>
        </message>
        <message>
            <source>Edit this message</source>
            <translation>编辑这条消息</translation>
        </message>
        <message>
            <source>Again</source>
            <translation>重新生成</translation>
        </message>
        <message>
            <source>Answer again, as another version</source>
            <translation>重新回答，作为另一个版本</translation>
        </message>
        <message>
            <source>Continue</source>
            <translation>继续</translation>
        </message>
        <message>
            <source>Continue this answer</source>
            <translation>继续这个回答</translation>
        </message>
        <message>
            <source>Do not send</source>
            <translation>不发送</translation>
        </message>
        <message>
            <source>Take this message out of the queue</source>
            <translation>把这条消息移出队列</translation>
        </message>
        <message>
            <source>More</source>
            <translation>更多</translation>
        </message>
        <message>
            <source>Previous version</source>
            <translation>上一个版本</translation>
        </message>
        <message>
            <source>Next version</source>
            <translation>下一个版本</translation>
        </message>
        <message>
            <source>Answer</source>
            <translation>回答</translation>
        </message>
        <message>
            <source>Answer this message</source>
            <translation>回答这条消息</translation>
        </message>
    </context>
    <context>
        <name>AddDialog</name>
        <message>
            <source>A GGUF file, {0}</source>
            <translation>GGUF 文件，{0}</translation>
        </message>
        <message>
            <source>A GLM-130B checkpoint (mp_rank files), {0}</source>
            <translation>GLM-130B 检查点（mp_rank 文件），{0}</translation>
        </message>
        <message>
            <source>A Hugging Face model (safetensors), {0}</source>
            <translation>Hugging Face 模型（safetensors），{0}</translation>
        </message>
        <message>
            <source>A model of Bilin, {0}</source>
            <translation>比邻的模型，{0}</translation>
        </message>
        <message>
            <source>It takes about {0} min, as measured on this machine.</source>
            <translation>按本机实测速度，约需 {0} 分钟。</translation>
        </message>
        <message>
            <source>Add</source>
            <translation>添加</translation>
        </message>
        <message>
            <source>Add model</source>
            <translation>添加模型</translation>
        </message>
        <message>
            <source>As it is</source>
            <translation>保持原样</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>Close to the original, and small</source>
            <translation>接近原模型，占用小</translation>
        </message>
        <message>
            <source>Convert</source>
            <translation>转换</translation>
        </message>
        <message>
            <source>Copy it into the models folder</source>
            <translation>复制到模型文件夹</translation>
        </message>
        <message>
            <source>Every file is verified</source>
            <translation>逐个文件校验</translation>
        </message>
        <message>
            <source>Keeps the codes and scales it has</source>
            <translation>保留原有的编码和比例</translation>
        </message>
        <message>
            <source>Leave it where it is</source>
            <translation>留在原处</translation>
        </message>
        <message>
            <source>Name</source>
            <translation>名称</translation>
        </message>
        <message>
            <source>Needs {0} of disk; {1} are free.</source>
            <translation>需要 {0} 磁盘空间；剩余 {1}。</translation>
        </message>
        <message>
            <source>Needs {0}, but only {1} are free.</source>
            <translation>需要 {0}，但只剩 {1}。</translation>
        </message>
        <message>
            <source>Nothing is copied</source>
            <translation>不复制任何文件</translation>
        </message>
        <message>
            <source>Nothing that Bilin knows, {0}</source>
            <translation>比邻不认识的内容，{0}</translation>
        </message>
        <message>
            <source>The original stays as it is.</source>
            <translation>原文件保持不变。</translation>
        </message>
        <message>
            <source>The smallest; the recipe of GLM-130B's own paper</source>
            <translation>占用最小；GLM-130B 论文的做法</translation>
        </message>
        <message>
            <source>Where it shall lie</source>
            <translation>放在哪里</translation>
        </message>
        <message>
            <source>Groups of 128 weights, the usual</source>
            <translation>每组 128 个权重，常用</translation>
        </message>
        <message>
            <source>Groups of 32 weights</source>
            <translation>每组 32 个权重</translation>
        </message>
        <message>
            <source>Groups of 64 weights</source>
            <translation>每组 64 个权重</translation>
        </message>
        <message>
            <source>A little closer to the original</source>
            <translation>更接近原模型</translation>
        </message>
        <message>
            <source>One group a row</source>
            <translation>每行一组</translation>
        </message>
        <message>
            <source>The closest to the original</source>
            <translation>最接近原模型</translation>
        </message>
        <message>
            <source>Accuracy and size</source>
            <translation>精度与大小</translation>
        </message>
    </context>
    <context>
        <name>Application</name>
        <message>
            <source>A folder for your data</source>
            <translation>为数据选择文件夹</translation>
        </message>
    </context>
    <context>
        <name>AttachmentDialog</name>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>Copy</source>
            <translation>复制</translation>
        </message>
        <message>
            <source>Put into the message</source>
            <translation>放进消息里</translation>
        </message>
        <message>
            <source>The attachment’s text</source>
            <translation>附件的文字</translation>
        </message>
        <message>
            <source>{0} characters</source>
            <translation>{0} 个字符</translation>
        </message>
        <message>
            <source>{0} lines</source>
            <translation>{0} 行</translation>
        </message>
        <message>
            <source>{0} tokens</source>
            <translation>{0} 个词元</translation>
        </message>
    </context>
    <context>
        <name>Bar</name>
        <message>
            <source>KV cache</source>
            <translation>KV 缓存</translation>
        </message>
        <message>
            <source>activations</source>
            <translation>激活</translation>
        </message>
        <message>
            <source>in use by the model</source>
            <translation>模型实占</translation>
        </message>
        <message>
            <source>other programs</source>
            <translation>其他程序</translation>
        </message>
        <message>
            <source>reserve</source>
            <translation>预留</translation>
        </message>
        <message>
            <source>weights</source>
            <translation>权重</translation>
        </message>
        <message>
            <source>{0} layers</source>
            <translation>{0} 层</translation>
        </message>
    </context>
    <context>
        <name>Blank</name>
        <message>
            <source>blank {0}</source>
            <translation>空 {0}</translation>
        </message>
        <message>
            <source>long blank {0}</source>
            <translation>长空 {0}</translation>
        </message>
        <message>
            <source>sentence blank {0}</source>
            <translation>句空 {0}</translation>
        </message>
        <message>
            <source>{0} fills</source>
            <translation>{0} 填写</translation>
        </message>
    </context>
    <context>
        <name>BlankPanel</name>
        <message>
            <source>No blank chosen</source>
            <translation>没有选中空</translation>
        </message>
        <message>
            <source>Stop</source>
            <translation>停止</translation>
        </message>
        <message>
            <source>Fill</source>
            <translation>填这个空</translation>
        </message>
        <message>
            <source>This model has no {0} token</source>
            <translation>这个模型没有 {0} 标记</translation>
        </message>
        <message>
            <source>Was: {0}</source>
            <translation>原文：{0}</translation>
        </message>
        <message>
            <source>≤ {0} words</source>
            <translation>≤ {0} 词</translation>
        </message>
        <message>
            <source>≤ {0} chars</source>
            <translation>≤ {0} 字</translation>
        </message>
        <message>
            <source>Length</source>
            <translation>长度</translation>
        </message>
        <message>
            <source>any</source>
            <translation>不限</translation>
        </message>
        <message>
            <source>= {0}</source>
            <translation>= {0}</translation>
        </message>
        <message>
            <source>, </source>
            <translation>，</translation>
        </message>
        <message>
            <source>The model is filling this blank …</source>
            <translation>模型正在填写…</translation>
        </message>
        <message>
            <source>Waits for the model …</source>
            <translation>等模型就绪后填写…</translation>
        </message>
        <message>
            <source>Both sides are in the model's view</source>
            <translation>两侧文字都在模型视野内</translation>
        </message>
        <message>
            <source>The nearest text on both sides is in the model's view</source>
            <translation>模型只看得到两侧最近的文字</translation>
        </message>
        <message>
            <source>asked in a chat</source>
            <translation>以对话方式请求</translation>
        </message>
        <message>
            <source>Short</source>
            <translation>短</translation>
        </message>
        <message>
            <source>Sentence</source>
            <translation>句</translation>
        </message>
        <message>
            <source>Long</source>
            <translation>长</translation>
        </message>
        <message>
            <source>Kind of blank</source>
            <translation>空的种类</translation>
        </message>
        <message>
            <source>Restore</source>
            <translation>还原</translation>
        </message>
        <message>
            <source>Put the original text back</source>
            <translation>放回原来的文字</translation>
        </message>
        <message>
            <source>Number of characters or words</source>
            <translation>字数或词数</translation>
        </message>
        <message>
            <source>Only from a list, with commas</source>
            <translation>只从这些里选，用逗号分开</translation>
        </message>
        <message>
            <source>Only one of these</source>
            <translation>只从这些里选</translation>
        </message>
        <message>
            <source>Digits only</source>
            <translation>只用数字</translation>
        </message>
        <message>
            <source>Candidates</source>
            <translation>候选数</translation>
        </message>
        <message>
            <source>Number of candidates</source>
            <translation>候选数</translation>
        </message>
        <message>
            <source>Sampling</source>
            <translation>采样</translation>
        </message>
        <message>
            <source>Beam search</source>
            <translation>束搜索</translation>
        </message>
        <message>
            <source>How candidates are drawn</source>
            <translation>候选的生成方式</translation>
        </message>
        <message>
            <source>Fill all</source>
            <translation>全部填写</translation>
        </message>
        <message>
            <source>Stop filling ({0})</source>
            <translation>停止填写（{0}）</translation>
        </message>
        <message>
            <source>Fill this blank ({0})</source>
            <translation>填写这个空（{0}）</translation>
        </message>
        <message>
            <source>Candidates    {0} the next · {1} accepts</source>
            <translation>候选　{0} 换一个 · {1} 采用</translation>
        </message>
        <message>
            <source>{0} fills it with both sides in view</source>
            <translation>{0} 兼顾上下文填写</translation>
        </message>
        <message>
            <source>{0} puts a blank at the cursor or makes one of what is selected; {1} a long one.</source>
            <translation>{0} 在光标处插入空，或把选中的内容变成空；{1} 插入长空。</translation>
        </message>
        <message>
            <source>Fill all blanks in order ({0})</source>
            <translation>依次填写所有的空（{0}）</translation>
        </message>
        <message>
            <source>by fill-in-the-middle tokens</source>
            <translation>用中间填充标记</translation>
        </message>
    </context>
    <context>
        <name>Breaks</name>
        <message>
            <source>Not one of the choices</source>
            <translation>不在可选范围内</translation>
        </message>
        <message>
            <source>Not digits only</source>
            <translation>不全是数字</translation>
        </message>
        <message>
            <source>The answer broke off before its end</source>
            <translation>回答没写完就断了</translation>
        </message>
        <message>
            <source>{0} characters</source>
            <translation>{0} 字</translation>
        </message>
        <message>
            <source>{0} words</source>
            <translation>{0} 词</translation>
        </message>
        <message>
            <source>{found}, asked for exactly {count}</source>
            <translation>{found}，要求正好 {count}</translation>
        </message>
        <message>
            <source>{found}, asked for at most {count}</source>
            <translation>{found}，要求最多 {count}</translation>
        </message>
    </context>
    <context>
        <name>CandidateCard</name>
        <message>
            <source>log-probability {0}</source>
            <translation>对数概率 {0}</translation>
        </message>
    </context>
    <context>
        <name>CatalogList</name>
        <message>
            <source>cannot run yet ({0})</source>
            <translation>暂不支持（{0}）</translation>
        </message>
        <message>
            <source>fits: {0}</source>
            <translation>放得下：{0}</translation>
        </message>
        <message>
            <source>its size is known once the hub is asked</source>
            <translation>大小要向模型库查询后才知道</translation>
        </message>
        <message>
            <source>Chinese</source>
            <translation>中文</translation>
        </message>
        <message>
            <source>English</source>
            <translation>英文</translation>
        </message>
        <message>
            <source>download {0}, INT4 {1}</source>
            <translation>下载 {0}，INT4 {1}</translation>
        </message>
        <message>
            <source>, </source>
            <translation>、</translation>
        </message>
        <message>
            <source>INT4 at {0} tokens needs {1}</source>
            <translation>INT4、上下文 {0} 词元时需要 {1}</translation>
        </message>
        <message>
            <source>main memory</source>
            <translation>内存</translation>
        </message>
        <message>
            <source>GPU {0}</source>
            <translation>GPU {0}</translation>
        </message>
        <message>
            <source>Catalog</source>
            <translation>模型目录</translation>
        </message>
        <message>
            <source>{1} lacks {0}</source>
            <translation>{1} 还差 {0}</translation>
        </message>
    </context>
    <context>
        <name>ChatPage</name>
        <message>
            <source>Untitled</source>
            <translation>无标题</translation>
        </message>
        <message>
            <source>Deleted: {0}</source>
            <translation>已删除：{0}</translation>
        </message>
        <message>
            <source>Undo</source>
            <translation>撤销</translation>
        </message>
        <message>
            <source>Messages deleted: {0}</source>
            <translation>已删除 {0} 条消息</translation>
        </message>
        <message>
            <source>Preset deleted: {0}</source>
            <translation>已删除预设：{0}</translation>
        </message>
    </context>
    <context>
        <name>ChatView</name>
        <message>
            <source>Markdown (*.md)</source>
            <translation>Markdown (*.md)</translation>
        </message>
        <message>
            <source>JSON, to be imported again (*.json)</source>
            <translation>JSON，可再导入 (*.json)</translation>
        </message>
        <message>
            <source>Export the conversation</source>
            <translation>导出对话</translation>
        </message>
        <message>
            <source>Import conversations</source>
            <translation>导入对话</translation>
        </message>
        <message>
            <source>Bilin’s JSON or ChatGPT’s export (*.json *.zip)</source>
            <translation>比邻的 JSON 或 ChatGPT 的导出文件 (*.json *.zip)</translation>
        </message>
        <message>
            <source>Everything stays on this computer</source>
            <translation>一切都在这台电脑上</translation>
        </message>
        <message>
            <source>Attach text or code files</source>
            <translation>添加文本或代码文件</translation>
        </message>
    </context>
    <context>
        <name>Chip</name>
        <message>
            <source>Open {0}, {1}</source>
            <translation>打开 {0}，{1}</translation>
        </message>
        <message>
            <source>Remove {0}</source>
            <translation>移除 {0}</translation>
        </message>
        <message>
            <source>{0} characters</source>
            <translation>{0} 个字符</translation>
        </message>
        <message>
            <source>{0} tokens</source>
            <translation>{0} 个词元</translation>
        </message>
    </context>
    <context>
        <name>Composer</name>
        <message>
            <source>Context: {0} of {1} tokens</source>
            <translation>上下文：{0} / {1} 词元</translation>
        </message>
        <message>
            <source>Too long: {0} of {1} tokens</source>
            <translation>太长：{0} / {1} 词元</translation>
        </message>
        <message>
            <source>Queue</source>
            <translation>排队</translation>
        </message>
        <message>
            <source>The model will not see the oldest messages; all stay on show</source>
            <translation>模型看不到最早的消息；对话里全部保留</translation>
        </message>
        <message>
            <source>Send without them</source>
            <translation>照此发送</translation>
        </message>
        <message>
            <source>Send</source>
            <translation>发送</translation>
        </message>
        <message>
            <source>Too long for this model's context</source>
            <translation>超出这个模型的上下文</translation>
        </message>
        <message>
            <source>Too long: the oldest messages are left out ({0})</source>
            <translation>太长：最早的 {0} 条消息不会发送</translation>
        </message>
        <message>
            <source>Queued: {0}</source>
            <translation>排队中：{0} 条</translation>
        </message>
        <message>
            <source>Sent when this answer ends</source>
            <translation>这个回答结束后发送</translation>
        </message>
        <message>
            <source>Write a message. Ctrl+Enter sends</source>
            <translation>输入消息，Ctrl+Enter 发送</translation>
        </message>
        <message>
            <source>Write a message. Enter sends, Shift+Enter breaks the line</source>
            <translation>输入消息，Enter 发送，Shift+Enter 换行</translation>
        </message>
        <message>
            <source>Message</source>
            <translation>消息</translation>
        </message>
        <message>
            <source>Context</source>
            <translation>上下文</translation>
        </message>
        <message>
            <source>Stop</source>
            <translation>停止</translation>
        </message>
        <message>
            <source>Answer begins with</source>
            <translation>回答开头</translation>
        </message>
        <message>
            <source>Attach text or code files</source>
            <translation>添加文本或代码文件</translation>
        </message>
        <message>
            <source>Let the model begin the answer</source>
            <translation>让模型自己开头</translation>
        </message>
        <message>
            <source>The model goes on from these words</source>
            <translation>模型会接着这几个字往下写</translation>
        </message>
        <message>
            <source>Write the answer’s first words</source>
            <translation>替回答起个头</translation>
        </message>
        <message>
            <source>Too long: “{0}” and so on are left out ({1})</source>
            <translation>太长：“{0}”等 {1} 条较早的消息不会发给模型</translation>
        </message>
        <message>
            <source>Stop this answer</source>
            <translation>停止这个回答</translation>
        </message>
    </context>
    <context>
        <name>ConversationList</name>
        <message>
            <source>Nothing found</source>
            <translation>没有找到</translation>
        </message>
        <message>
            <source>Pinned</source>
            <translation>置顶</translation>
        </message>
        <message>
            <source>Today</source>
            <translation>今天</translation>
        </message>
        <message>
            <source>Yesterday</source>
            <translation>昨天</translation>
        </message>
        <message>
            <source>Last 7 days</source>
            <translation>最近 7 天</translation>
        </message>
        <message>
            <source>Unpin</source>
            <translation>取消置顶</translation>
        </message>
        <message>
            <source>Pin</source>
            <translation>置顶</translation>
        </message>
        <message>
            <source>Rename …</source>
            <translation>重命名…</translation>
        </message>
        <message>
            <source>Export …</source>
            <translation>导出…</translation>
        </message>
        <message>
            <source>Import conversations …</source>
            <translation>导入对话…</translation>
        </message>
        <message>
            <source>Delete</source>
            <translation>删除</translation>
        </message>
        <message>
            <source>Rename</source>
            <translation>重命名</translation>
        </message>
        <message>
            <source>Title</source>
            <translation>标题</translation>
        </message>
        <message>
            <source>Search</source>
            <translation>搜索对话</translation>
        </message>
        <message>
            <source>Search conversations</source>
            <translation>搜索对话</translation>
        </message>
        <message>
            <source>Clear the search</source>
            <translation>清除搜索</translation>
        </message>
        <message>
            <source>New chat</source>
            <translation>新对话</translation>
        </message>
        <message>
            <source>Conversations</source>
            <translation>对话记录</translation>
        </message>
        <message>
            <source>Trash</source>
            <translation>回收站</translation>
        </message>
        <message>
            <source>What was deleted</source>
            <translation>已删除的内容</translation>
        </message>
    </context>
    <context>
        <name>Dates</name>
        <message>
            <source>MMM d</source>
            <comment>a day, as QLocale reads it</comment>
            <translation>M月d日</translation>
        </message>
        <message>
            <source>MMMM</source>
            <comment>a month, as QLocale reads it</comment>
            <translation>M月</translation>
        </message>
        <message>
            <source>MMMM yyyy</source>
            <comment>a month, as QLocale reads it</comment>
            <translation>yyyy年M月</translation>
        </message>
    </context>
    <context>
        <name>DeletionQuestion</name>
        <message>
            <source>This cannot be undone.</source>
            <translation>此操作无法撤销。</translation>
        </message>
        <message>
            <source>Delete</source>
            <translation>删除</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
    </context>
    <context>
        <name>Detail</name>
        <message>
            <source>Choose ice_text.model…</source>
            <translation>选择 ice_text.model…</translation>
        </message>
        <message>
            <source>This model cannot read text yet: its tokenizer, ice_text.model, is missing. It is published beside GLM-130B's code (the icetk package).</source>
            <translation>这个模型还不能读取文字：缺少分词器文件 ice_text.model。它随 GLM-130B 的代码（icetk 软件包）一起发布。</translation>
        </message>
    </context>
    <context>
        <name>DetailHeader</name>
        <message>
            <source>Compare every file with its sha256</source>
            <translation>逐个文件核对 sha256</translation>
        </message>
        <message>
            <source>Delete this model</source>
            <translation>删除这个模型</translation>
        </message>
        <message>
            <source>Load</source>
            <translation>加载</translation>
        </message>
        <message>
            <source>Show in the file manager</source>
            <translation>在文件管理器中显示</translation>
        </message>
        <message>
            <source>Stop loading</source>
            <translation>停止加载</translation>
        </message>
        <message>
            <source>Unload</source>
            <translation>卸载</translation>
        </message>
        <message>
            <source>Verify</source>
            <translation>校验</translation>
        </message>
        <message>
            <source>Rename this model</source>
            <translation>重命名此模型</translation>
        </message>
        <message>
            <source>Stop measuring</source>
            <translation>停止测速</translation>
        </message>
    </context>
    <context>
        <name>DocumentFindBar</name>
        <message>
            <source>{0} of {1}</source>
            <translation>第 {0} 处，共 {1} 处</translation>
        </message>
        <message>
            <source>Not in this document</source>
            <translation>文档里没有</translation>
        </message>
        <message>
            <source>Find in this document</source>
            <translation>在文档里查找</translation>
        </message>
        <message>
            <source>The place before (Shift+Enter)</source>
            <translation>上一处（Shift+Enter）</translation>
        </message>
        <message>
            <source>The next place (Enter)</source>
            <translation>下一处（Enter）</translation>
        </message>
    </context>
    <context>
        <name>DocumentList</name>
        <message>
            <source>Delete</source>
            <translation>删除</translation>
        </message>
        <message>
            <source>Search documents</source>
            <translation>搜索文档</translation>
        </message>
        <message>
            <source>New document</source>
            <translation>新文档</translation>
        </message>
        <message>
            <source>Documents</source>
            <translation>文档</translation>
        </message>
    </context>
    <context>
        <name>EditorHeader</name>
        <message>
            <source>New document</source>
            <translation>新文档</translation>
        </message>
        <message>
            <source>Rename this document</source>
            <translation>给文档改名</translation>
        </message>
        <message>
            <source>Title</source>
            <translation>标题</translation>
        </message>
        <message>
            <source>Saved</source>
            <translation>已保存</translation>
        </message>
        <message>
            <source>Everything is saved. Earlier versions …</source>
            <translation>全部已保存。查看以前的版本…</translation>
        </message>
        <message>
            <source>Saving …</source>
            <translation>正在保存…</translation>
        </message>
        <message>
            <source>Being saved. Earlier versions …</source>
            <translation>正在保存。查看以前的版本…</translation>
        </message>
        <message>
            <source>Not saved</source>
            <translation>未保存</translation>
        </message>
        <message>
            <source>Not saved: the disk refuses</source>
            <translation>未保存：写不进磁盘</translation>
        </message>
        <message>
            <source>mine</source>
            <translation>我写的</translation>
        </message>
        <message>
            <source>model</source>
            <translation>模型</translation>
        </message>
        <message>
            <source>edited</source>
            <translation>改过</translation>
        </message>
        <message>
            <source>Show who wrote what: mine, the model's, edited</source>
            <translation>显示出处：我写的、模型写的、改过的</translation>
        </message>
        <message>
            <source>Blank ▾</source>
            <translation>插入空 ▾</translation>
        </message>
        <message>
            <source>Insert a blank</source>
            <translation>插入一个空</translation>
        </message>
        <message>
            <source>More</source>
            <translation>更多</translation>
        </message>
        <message>
            <source>Short blank</source>
            <translation>短空</translation>
        </message>
        <message>
            <source>Sentence blank</source>
            <translation>句空</translation>
        </message>
        <message>
            <source>Long blank</source>
            <translation>长空</translation>
        </message>
        <message>
            <source>Bridge: a passage after this paragraph</source>
            <translation>衔接：在这一段后面补一段</translation>
        </message>
        <message>
            <source>Continue at the end</source>
            <translation>在末尾续写</translation>
        </message>
        <message>
            <source>Rewrite the selection</source>
            <translation>改写选中的文字</translation>
        </message>
        <message>
            <source>Open a file …</source>
            <translation>打开文件…</translation>
        </message>
        <message>
            <source>Save as …</source>
            <translation>另存为…</translation>
        </message>
        <message>
            <source>Earlier versions …</source>
            <translation>以前的版本…</translation>
        </message>
        <message>
            <source>What the model sees …</source>
            <translation>模型看到的内容…</translation>
        </message>
        <message>
            <source>Samples</source>
            <translation>示例</translation>
        </message>
        <message>
            <source>Proofread</source>
            <translation>校读</translation>
        </message>
        <message>
            <source>The second reader: words that the model does not expect (F7)</source>
            <translation>校读：找出模型觉得不该在这里的词（F7）</translation>
        </message>
        <message>
            <source>Proofread …</source>
            <translation>校读…</translation>
        </message>
    </context>
    <context>
        <name>EditorPage</name>
        <message>
            <source>Every blank has a fill on offer: {0} accepts it, {1} asks for others.</source>
            <translation>每个空都有候选了：{0} 采用，{1} 换一批。</translation>
        </message>
        <message>
            <source>There is no blank to fill: {0} puts one in.</source>
            <translation>没有要填的空：{0} 可插入一个。</translation>
        </message>
        <message>
            <source>Untitled</source>
            <translation>无标题</translation>
        </message>
        <message>
            <source>Deleted: {0}</source>
            <translation>已删除：{0}</translation>
        </message>
        <message>
            <source>Undo</source>
            <translation>撤销</translation>
        </message>
        <message>
            <source>Select what is to be rewritten first.</source>
            <translation>请先选中要改写的文字。</translation>
        </message>
        <message>
            <source>Select what is to be read first.</source>
            <translation>请先选中要校读的文字。</translation>
        </message>
    </context>
    <context>
        <name>EditorView</name>
        <message>
            <source>Plain text</source>
            <translation>纯文本</translation>
        </message>
        <message>
            <source>JSON, with blanks, candidates and origins</source>
            <translation>JSON，含空、候选和出处</translation>
        </message>
        <message>
            <source>Open a file</source>
            <translation>打开文件</translation>
        </message>
        <message>
            <source>Documents</source>
            <translation>文档</translation>
        </message>
        <message>
            <source>Save as</source>
            <translation>另存为</translation>
        </message>
        <message>
            <source>Text of the document</source>
            <translation>文档正文</translation>
        </message>
    </context>
    <context>
        <name>EmptyConversation</name>
        <message>
            <source>A bilingual model on your own computer. No account, no network.</source>
            <translation>在自己的电脑上运行的中英双语模型。不用账号，不用联网。</translation>
        </message>
        <message>
            <source>Try</source>
            <translation>试一试</translation>
        </message>
        <message>
            <source>{0} is a small demonstration model: it shows how Bilin works and makes mistakes.</source>
            <translation>{0}：小型演示模型，用来展示比邻怎样工作，会出错。</translation>
        </message>
    </context>
    <context>
        <name>EmptyDocument</name>
        <message>
            <source>Try</source>
            <translation>试一试</translation>
        </message>
        <message>
            <source>Write, or open a file. {0} puts a blank at the cursor or makes one of what is selected; {1} lets the model fill it with the text on both sides in view.</source>
            <translation>直接书写，或打开文件。{0} 在光标处插入空，或把选中的内容变成空；{1} 让模型兼顾上下文把它填上。</translation>
        </message>
    </context>
    <context>
        <name>EnginePopover</name>
        <message>
            <source>Hide details</source>
            <translation>收起详情</translation>
        </message>
        <message>
            <source>Details</source>
            <translation>详情</translation>
        </message>
        <message>
            <source>The engine is ready</source>
            <translation>引擎就绪</translation>
        </message>
        <message>
            <source>The engine is writing</source>
            <translation>引擎正在生成</translation>
        </message>
        <message>
            <source>Loading the model: {0} %</source>
            <translation>正在加载模型：{0} %</translation>
        </message>
        <message>
            <source>The engine is starting</source>
            <translation>引擎正在启动</translation>
        </message>
        <message>
            <source>The engine has a fault</source>
            <translation>引擎出了故障</translation>
        </message>
        <message>
            <source>The engine is stopped</source>
            <translation>引擎已停止</translation>
        </message>
        <message>
            <source>No model is loaded</source>
            <translation>没有加载模型</translation>
        </message>
        <message>
            <source>Start the engine</source>
            <translation>启动引擎</translation>
        </message>
        <message>
            <source>Load the model</source>
            <translation>加载模型</translation>
        </message>
        <message>
            <source>Choose a model</source>
            <translation>选择模型</translation>
        </message>
        <message>
            <source>Copy report</source>
            <translation>复制报告</translation>
        </message>
    </context>
    <context>
        <name>EngineSentences</name>
        <message>
            <source>{} is busy (HTTP {}, {})</source>
            <translation>{} 正忙（HTTP {}，{}）</translation>
        </message>
        <message>
            <source>{} does not give out {} (HTTP {}): there is no such repository, or it is private or asks for its terms to be accepted. Enter a token of an account that may read it</source>
            <translation>{} 不提供 {}（HTTP {}）：没有这个仓库，或者它是私有的，或者需要先接受条款。请填写有权读取它的账号的令牌</translation>
        </message>
        <message>
            <source>{} refuses the token that it is sent (HTTP 401): it is mistyped, has expired or was withdrawn. Enter another, or have it forgotten</source>
            <translation>{} 不接受发送给它的令牌（HTTP 401）：令牌写错了、已过期或已被撤销。请填写另一个，或者删除保存的令牌</translation>
        </message>
        <message>
            <source>{} has no {} (HTTP 404); check how it is written, and the source</source>
            <translation>{} 上没有 {}（HTTP 404）；请检查写法和来源</translation>
        </message>
        <message>
            <source>{}{} cannot be reached: {}</source>
            <translation>连不上 {}{}：{}</translation>
        </message>
        <message>
            <source>{}{} does not answer ({})</source>
            <translation>{}{} 没有回应（{}）</translation>
        </message>
        <message>
            <source>the proxy does not let through to {}: {}</source>
            <translation>代理不放行到 {} 的连接：{}</translation>
        </message>
        <message>
            <source>the connection to {}{} broke ({}): {}</source>
            <translation>到 {}{} 的连接断了（{}）：{}</translation>
        </message>
        <message>
            <source>{} redirects {} in circles, by way of {}</source>
            <translation>{} 把 {} 来回转址，途经 {}</translation>
        </message>
        <message>
            <source>{} redirects {} to {}://{}, which is not encrypted; nothing was fetched from there</source>
            <translation>{} 把 {} 转到没有加密的 {}://{}；没有从那里取任何东西</translation>
        </message>
        <message>
            <source>{} answers {} with something that is no JSON ({}); is {} the address of a hub?</source>
            <translation>{} 对 {} 的回答不是 JSON（{}）；{} 是模型库的地址吗？</translation>
        </message>
        <message>
            <source>the repository "{}" is none; write owner/name, as zai-org/GLM-4-9B-0414</source>
            <translation>“{}”不是仓库名；请写成“所有者/名称”，例如 zai-org/GLM-4-9B-0414</translation>
        </message>
        <message>
            <source>the revision "{}" is none; write a branch, a tag or a commit</source>
            <translation>“{}”不是版本；请写分支、标签或提交</translation>
        </message>
        <message>
            <source>the proxy "{}" is none; write it as http://host:port ({})</source>
            <translation>“{}”不是代理地址；请写成 http://主机:端口（{}）</translation>
        </message>
        <message>
            <source>the address "{}" is none; write it as https://hf-mirror.com, without a user name, a question mark or a hash sign</source>
            <translation>“{}”不是地址；请写成 https://hf-mirror.com 这样，不带用户名、问号和井号</translation>
        </message>
        <message>
            <source>{} names no commit of {}: it is no such hub</source>
            <translation>{} 没有给出 {} 的提交：它不是模型库</translation>
        </message>
        <message>
            <source>{} lists no files of {}: it is no such hub</source>
            <translation>{} 没有列出 {} 的文件：它不是模型库</translation>
        </message>
        <message>
            <source>{} does not give out {}: {}</source>
            <translation>{} 不提供 {}：{}</translation>
        </message>
        <message>
            <source>{} has weights but no config.json, so nothing says what they are</source>
            <translation>{} 有权重，却没有 config.json，无从知道是什么模型</translation>
        </message>
        <message>
            <source>{} has its weights as pickles only ({}), which can run code when they are read; take a repository with safetensors</source>
            <translation>{} 的权重只有 pickle 格式（{}），读取它可能会运行其中的代码；请换一个有 safetensors 的仓库</translation>
        </message>
        <message>
            <source>{} holds no weights: neither safetensors nor GGUF files</source>
            <translation>{} 里没有权重：既没有 safetensors，也没有 GGUF 文件</translation>
        </message>
        <message>
            <source>{} is not whole: {} is missing</source>
            <translation>{} 不完整：缺少 {}</translation>
        </message>
        <message>
            <source>{} has {} free; the download and the model made of it need {} more. Free some space, then resume</source>
            <translation>{} 有 {} 可用；下载和转换出的模型还需要 {}。请腾出空间后继续</translation>
        </message>
        <message>
            <source>{} arrives changed from {}: {}. It was fetched twice and thrown away; try another source, or later</source>
            <translation>{} 从 {} 取来后内容不对：{}。已取过两次并丢弃；请换一个来源，或稍后再试</translation>
        </message>
        <message>
            <source>{} ended {} after {} of {} bytes</source>
            <translation>{} 发送 {} 时中断：收到 {} 字节，共 {} 字节</translation>
        </message>
        <message>
            <source>{} sends more than the {} bytes that the hub lists of {}; it was thrown away</source>
            <translation>{} 发来的超过 {} 字节，与模型库列出的 {} 不符；已丢弃</translation>
        </message>
        <message>
            <source>{} is being downloaded by another process of Bilin's</source>
            <translation>{} 正由另一个比邻进程下载</translation>
        </message>
        <message>
            <source>{} exists already; choose another name or remove it first</source>
            <translation>{} 已经存在；请换个名字，或先移走它</translation>
        </message>
        <message>
            <source>{} exists already; rename or remove it first</source>
            <translation>{} 已经存在；请先改名或移走它</translation>
        </message>
        <message>
            <source>{} exists already; choose another name</source>
            <translation>{} 已经存在；请换个名字</translation>
        </message>
        <message>
            <source>{} is a model of Bilin's already</source>
            <translation>{} 已经是比邻的模型</translation>
        </message>
        <message>
            <source>a GGUF file becomes INT4 or INT8 in groups; use 32, 64, 128 or row, or leave the group size out: then what the file has in 4-bit groups of 32 is kept</source>
            <translation>GGUF 文件会按组转成 INT4 或 INT8；组大小请用 32、64、128 或 row，或者不填：这时文件中 32 个一组的 4 位权重原样保留</translation>
        </message>
        <message>
            <source>a Hugging Face folder becomes INT4 or INT8 in groups; use 128, 64, 32 or row</source>
            <translation>Hugging Face 文件夹会按组转成 INT4 或 INT8；组大小请用 128、64、32 或 row</translation>
        </message>
        <message>
            <source>{} holds no mp_rank_XX_model_states.pt files</source>
            <translation>{} 里没有 mp_rank_XX_model_states.pt 文件</translation>
        </message>
        <message>
            <source>{} lacks mp_rank_{}_model_states.pt (it has ranks up to {})</source>
            <translation>{} 缺少 mp_rank_{}_model_states.pt（现有到第 {} 份）</translation>
        </message>
        <message>
            <source>{} is no file; it should be icetk's</source>
            <translation>{} 不是文件；它应当是 icetk 的词表</translation>
        </message>
        <message>
            <source>{}: no shard holds the tensor {}, which config.json asks for</source>
            <translation>{}：没有一个分片含有 config.json 要求的张量 {}</translation>
        </message>
        <message>
            <source>{}: no shard holds the tensor {}</source>
            <translation>{}：没有一个分片含有张量 {}</translation>
        </message>
        <message>
            <source>{}: two shards hold {}</source>
            <translation>{}：两个分片都含有 {}</translation>
        </message>
        <message>
            <source>{}: {} has shape {}; config.json asks for {}</source>
            <translation>{}：{} 的形状是 {}；config.json 要求 {}</translation>
        </message>
        <message>
            <source>{}: quant_method {} cannot be imported: {}; take the original weights, GPTQ (symmetric) or compressed-tensors (pack-quantized, symmetric)</source>
            <translation>{}：无法导入量化方式 {}：{}；请用原始权重、对称的 GPTQ，或对称的 compressed-tensors（pack-quantized）</translation>
        </message>
        <message>
            <source>{}: asymmetric GPTQ (sym false) cannot be kept</source>
            <translation>{}：不支持非对称的 GPTQ（sym 为 false）</translation>
        </message>
        <message>
            <source>{}: GPTQ with desc_act reorders columns and cannot be kept</source>
            <translation>{}：带 desc_act 的 GPTQ 会重排列，不支持</translation>
        </message>
        <message>
            <source>{} is no GGUF file: it does not begin with GGUF</source>
            <translation>{} 不是 GGUF 文件：开头不是 GGUF</translation>
        </message>
        <message>
            <source>{} has the architecture {}; GGUF can be imported of {}</source>
            <translation>{} 的架构是 {}；可以导入的 GGUF 有：{}</translation>
        </message>
        <message>
            <source>{}: {} holds {}; {} can be imported. Take another file of the same model, Q8_0 or F16 where there is one</source>
            <translation>{}：{} 是 {}；可以导入的是 {}。请换同一模型的另一个文件，最好是 Q8_0 或 F16</translation>
        </message>
        <message>
            <source>{} is missing in {}: all parts are needed</source>
            <translation>缺少 {}（在 {} 中）：各部分都要齐全</translation>
        </message>
        <message>
            <source>{}: its tensors end at byte {} and the file at {}: it was cut short</source>
            <translation>{}：张量应到第 {} 字节，文件只到第 {} 字节：文件不完整</translation>
        </message>
        <message>
            <source>{}: its tensors take {} bytes and {} are there: the file was cut short or changed</source>
            <translation>{}：张量共 {} 字节，文件里有 {} 字节：文件不完整或被改过</translation>
        </message>
        <message>
            <source>{} is no PyTorch file: it begins with {}</source>
            <translation>{} 不是 PyTorch 文件：开头是 {}</translation>
        </message>
        <message>
            <source>{} wants to use "{}"{}. A checkpoint needs tensors only, so it was refused and nothing was run</source>
            <translation>{} 想使用“{}”{}。检查点只需要张量，因此已拒绝，什么也没有运行</translation>
        </message>
        <message>
            <source>{} is damaged or was cut short: {}</source>
            <translation>{} 已损坏或不完整：{}</translation>
        </message>
        <message>
            <source>{} holds {} at {}: the weights are damaged; every value must be finite</source>
            <translation>{} 含有 {}（位置 {}）：权重已损坏；每个数都必须有限</translation>
        </message>
        <message>
            <source>{} holds the unfinished work of another conversion; finish that one with the same settings, or remove the folder</source>
            <translation>{} 里有另一次未完成的转换；请用相同设置完成它，或移走这个文件夹</translation>
        </message>
        <message>
            <source>{} is being written by another conversion</source>
            <translation>{} 正由另一个转换写入</translation>
        </message>
        <message>
            <source>{} cannot be written ({}); copy it to where it can</source>
            <translation>{} 无法写入（{}）；请复制到可以写入的地方</translation>
        </message>
        <message>
            <source>{} is a link out of its folder, to {}</source>
            <translation>{} 是指向文件夹之外的链接：{}</translation>
        </message>
        <message>
            <source>{} has {} free; {} are needed. Free some space, then resume</source>
            <translation>{} 有 {} 可用；需要 {}。请腾出空间后继续</translation>
        </message>
        <message>
            <source>The disk is full. Free some space, then resume: what is done stays.</source>
            <translation>磁盘已满。请腾出空间后继续：已完成的部分都保留着。</translation>
        </message>
        <message>
            <source>the work failed unexpectedly: {}: {}</source>
            <translation>任务意外失败：{}：{}</translation>
        </message>
        <message>
            <source>{} is missing: there are no hashes to compare</source>
            <translation>缺少 {}：没有可供核对的哈希值</translation>
        </message>
        <message>
            <source>{} names no files; verify cannot be done</source>
            <translation>{} 没有列出文件；无法核对</translation>
        </message>
        <message>
            <source>{} was changed since it was written (sha256 {}… instead of {}…)</source>
            <translation>{} 写入后被改过（sha256 是 {}…，应为 {}…）</translation>
        </message>
        <message>
            <source>{} is missing: the folder was not written or imported by Bilin</source>
            <translation>缺少 {}：这个文件夹不是由比邻写入或导入的</translation>
        </message>
        <message>
            <source>{} is missing: the model cannot read text without it</source>
            <translation>缺少 {}：没有它，模型读不了文字</translation>
        </message>
        <message>
            <source>models cannot be moved from {} to {}: one is inside the other</source>
            <translation>无法把模型从 {} 移到 {}：一个在另一个里面</translation>
        </message>
        <message>
            <source>{} exists already and is another one; rename it, then try again</source>
            <translation>{} 已经存在，而且是另一个模型；请改名后再试</translation>
        </message>
        <message>
            <source>{} reads back differently: the disk is not to be trusted</source>
            <translation>{} 写入后读出来不一样：这块磁盘不可靠</translation>
        </message>
        <message>
            <source>this is in the queue already</source>
            <translation>队列里已经有这一项</translation>
        </message>
        <message>
            <source>the queue has other work that makes {}; choose another name</source>
            <translation>队列里已有别的任务要生成 {}；请换个名字</translation>
        </message>
        <message>
            <source>the queue holds {} jobs; clear some first</source>
            <translation>队列里已有 {} 项；请先清掉一些</translation>
        </message>
        <message>
            <source>the queue holds unfinished work on these models; finish or cancel it first</source>
            <translation>队列里还有涉及这些模型的未完成任务；请先完成或取消</translation>
        </message>
        <message>
            <source>the models are being moved; wait until that is done, or cancel it</source>
            <translation>模型正在移动；请等移动完成，或取消移动</translation>
        </message>
        <message>
            <source>the prompt has {} tokens and this model holds {} with its answer; shorten it by at least {}</source>
            <translation>内容有 {} 个词元，而这个模型连同回答最多容纳 {} 个；请至少缩短 {} 个词元。</translation>
        </message>
        <message>
            <source>the last message takes {} tokens with what must stay; there is room for {}: shorten it by {} tokens</source>
            <translation>最后一条消息加上必须保留的内容共 {} 个词元，只放得下 {} 个；请缩短 {} 个词元。</translation>
        </message>
        <message>
            <source>context {} is not possible; this model holds up to {} tokens (0 = all)</source>
            <translation>上下文不能设为 {}；这个模型最多容纳 {} 个词元（0 表示全部）。</translation>
        </message>
        <message>
            <source>there is no text to continue; give some</source>
            <translation>没有可以续写的文字，请先写一些。</translation>
        </message>
        <message>
            <source>the text has no blank to fill; put [MASK] where one should be</source>
            <translation>文中没有要填的空；请在该填的地方放一个 [MASK]。</translation>
        </message>
        <message>
            <source>the model "{}" cannot chat; it fills blanks</source>
            <translation>模型“{}”不能对话，它用来填空。</translation>
        </message>
        <message>
            <source>this model has no {} token: it cannot fill such a blank by mask</source>
            <translation>这个模型没有 {} 标记，不能用标记填这种空。</translation>
        </message>
        <message>
            <source>{} {} is not possible; it must be {}</source>
            <translation>{} 不能设为 {}，应为 {}。</translation>
        </message>
        <message>
            <source>no token is left to choose: the bans of this request cover them all</source>
            <translation>没有可选的词元了：限制条件把它们全都排除了。</translation>
        </message>
        <message>
            <source>the model "{}" sees only what stands before a word; proofreading needs a model that fills blanks by mask or by fill-in-the-middle tokens</source>
            <translation>模型“{}”只看得到一个词前面的文字；校读需要能用标记填空或有中间填充标记的模型。</translation>
        </message>
        <message>
            <source>a {} of {} bytes is too large; the limit is {}</source>
            <translation>请求太大：{} 有 {} 字节，上限是 {} 字节。</translation>
        </message>
        <message>
            <source>beam search over {} candidates needs room for as many texts; as this model is loaded there is room for {}: use fewer or sampling, or load it with a shorter context</source>
            <translation>对 {} 个候选做束搜索需要同时容纳同样多的文本；此模型现在只容得下 {} 个：请减少候选数、改用采样，或以更短的上下文重新加载。</translation>
        </message>
        <message>
            <source>there is too little free memory for this; use a shorter context or free some memory</source>
            <translation>可用内存不足；请缩短上下文，或释放一些内存。</translation>
        </message>
        <message>
            <source>{} cannot be used now ({}); another program may hold its memory</source>
            <translation>{} 现在无法使用（{}）；它的显存可能被其他程序占用。</translation>
        </message>
        <message>
            <source>{} ({}) needs {} MiB more: {} GiB needed at context {} and prompts of {} tokens, {} GiB free</source>
            <translation>{}（{}）还差 {} MiB：需要 {} GiB（上下文 {}，提示 {} 个词元），可用 {} GiB。</translation>
        </message>
        <message>
            <source>the self-test of these GPUs failed ({}), so they are not used together; {}</source>
            <translation>这些 GPU 的自检未通过（{}），因此不会一起使用；{}</translation>
        </message>
        <message>
            <source>no device is switched on; at least one is needed</source>
            <translation>没有启用任何设备，至少要启用一个。</translation>
        </message>
        <message>
            <source>tensor parallel needs 2 or more GPUs; {} is switched on</source>
            <translation>张量并行需要两块以上的 GPU；现在启用了 {} 块。</translation>
        </message>
        <message>
            <source>device "{}" is not there; there are {} GPUs, from cuda:0</source>
            <translation>没有设备“{}”；共有 {} 块 GPU，从 cuda:0 起。</translation>
        </message>
        <message>
            <source>device "{}": this torch sees no GPU; use "cpu" or "auto"</source>
            <translation>设备“{}”：当前的 PyTorch 找不到 GPU；请用“cpu”或“auto”。</translation>
        </message>
        <message>
            <source>The model's process did not answer within {} s.</source>
            <translation>模型进程在 {} 秒内没有响应。</translation>
        </message>
        <message>
            <source>The model's process hung: for {} s it neither answered nor used the processor, so it was ended.</source>
            <translation>模型进程卡住了：{} 秒内既无响应也未使用处理器，已将它结束。</translation>
        </message>
        <message>
            <source>The model did not stop within {} s of being asked, so its process was ended.</source>
            <translation>模型在 {} 秒内没有停下，已将它的进程结束。</translation>
        </message>
        <message>
            <source>The model's process gave up: {}.</source>
            <translation>模型进程放弃了：{}。</translation>
        </message>
        <message>
            <source>it is no text in UTF-8, UTF-16 or GB 18030; it begins with {}</source>
            <translation>不是 UTF-8、UTF-16 或 GB 18030 编码的文字，开头是 {}</translation>
        </message>
        <message>
            <source>not a file</source>
            <translation>不是普通文件</translation>
        </message>
        <message>
            <source>{} bytes; the editor opens files up to {} bytes</source>
            <translation>有 {} 字节；编辑器最多打开 {} 字节的文件</translation>
        </message>
        <message>
            <source>this is no document of Bilin: {}</source>
            <translation>不是比邻的文档：{}</translation>
        </message>
        <message>
            <source>this is {} version {}; this Bilin reads {} up to version {}</source>
            <translation>这是 {} 第 {} 版；这个比邻能读 {} 到第 {} 版</translation>
        </message>
        <message>
            <source>this is no JSON: {}</source>
            <translation>不是 JSON：{}</translation>
        </message>
        <message>
            <source>format {} is not known; this Bilin reads {}</source>
            <translation>不认识格式 {}；这个比邻能读 {}</translation>
        </message>
        <message>
            <source>neither a conversation of Bilin nor ChatGPT's conversations.json</source>
            <translation>既不是比邻的对话，也不是 ChatGPT 的 conversations.json</translation>
        </message>
        <message>
            <source>{} bytes; conversations are read up to {} bytes</source>
            <translation>{} 字节；对话文件最多可读 {} 字节</translation>
        </message>
        <message>
            <source>the zip holds no conversations.json</source>
            <translation>zip 文件里没有 conversations.json</translation>
        </message>
        <message>
            <source>the zip cannot be read: {}</source>
            <translation>无法读取 zip 文件：{}</translation>
        </message>
        <message>
            <source>The {} ended unexpectedly: {}. The log has its last words.</source>
            <translation>{}意外结束：{}。日志里有它最后的输出。</translation>
        </message>
        <message>
            <source>The {} sent something that is no message: {}.</source>
            <translation>{}发来的内容不是消息：{}。</translation>
        </message>
        <message>
            <source>The {} can no longer be read: {}.</source>
            <translation>{}的输出读不到了：{}。</translation>
        </message>
        <message>
            <source>the {} cannot be started: {}: {}</source>
            <translation>{}无法启动：{}：{}</translation>
        </message>
        <message>
            <source>model's process (rank {})</source>
            <translation>模型进程（rank {}）</translation>
        </message>
        <message>
            <source>job's process</source>
            <translation>任务进程</translation>
        </message>
        <message>
            <source>signal {} ({})</source>
            <translation>信号 {}（{}）</translation>
        </message>
        <message>
            <source>exit code {}</source>
            <translation>退出码 {}</translation>
        </message>
        <message>
            <source>the engine is not running</source>
            <translation>引擎没有运行。</translation>
        </message>
        <message>
            <source>the model "{}" is not loaded; load it first</source>
            <translation>模型“{}”尚未加载，请先加载。</translation>
        </message>
        <message>
            <source>the model "{}" is not loaded; "{}" is</source>
            <translation>模型“{}”没有加载，现在加载的是“{}”。</translation>
        </message>
        <message>
            <source>there is no model "{}"; known: {}</source>
            <translation>没有模型“{}”；现有：{}</translation>
        </message>
        <message>
            <source>the model's logits are not finite: its weights are damaged or of the wrong kind; verify the model's files</source>
            <translation>模型的输出不是有效数值：权重已损坏或类型不对；请校验模型文件。</translation>
        </message>
        <message>
            <source>{} is missing: the model folder is incomplete; copy or convert it again</source>
            <translation>缺少 {}：模型文件夹不完整，请重新复制或转换。</translation>
        </message>
        <message>
            <source>{} is missing: the model folder is incomplete</source>
            <translation>缺少 {}：模型文件夹不完整。</translation>
        </message>
        <message>
            <source>{} is missing: copy or convert the model again</source>
            <translation>缺少 {}，请重新复制或转换这个模型。</translation>
        </message>
        <message>
            <source>{} has {} bytes instead of {}: it was cut short or changed; copy or convert the model again</source>
            <translation>{} 有 {} 字节，应为 {} 字节：文件被截断或改动过；请重新复制或转换这个模型。</translation>
        </message>
        <message>
            <source>{} was changed since it was written (sha256 {}… instead of {}…); copy or convert the model again</source>
            <translation>{} 写入之后被改动过（sha256 为 {}…，应为 {}…）；请重新复制或转换这个模型。</translation>
        </message>
        <message>
            <source>{}: model_type "{}" is not one Bilin runs; known: {}</source>
            <translation>{}：比邻不支持 model_type“{}”；支持：{}</translation>
        </message>
        <message>
            <source>{} has keys that Bilin does not know and that may change what is computed: {}</source>
            <translation>{} 中有比邻不认识、可能影响计算结果的项：{}</translation>
        </message>
        <message>
            <source>{} is in the library already</source>
            <translation>{} 已经在模型列表里。</translation>
        </message>
        <message>
            <source>{} comes with Bilin and stays as it is</source>
            <translation>{} 是比邻自带的，不能更改。</translation>
        </message>
        <message>
            <source>the name {} is not possible; use 1 to {} printable characters</source>
            <translation>名称不能是 {}；请用 1 到 {} 个可见字符。</translation>
        </message>
        <message>
            <source>another Bilin works on the models in {}; close it first, or give this one a models folder of its own</source>
            <translation>另一个比邻正在使用 {} 中的模型；请先关闭它，或为这一个另设模型文件夹。</translation>
        </message>
        <message>
            <source>{} has {} free; {} are needed. Free some space or choose another disk; nothing was written</source>
            <translation>{} 可用 {}，需要 {}。请清理空间或换一块磁盘；尚未写入任何内容。</translation>
        </message>
        <message>
            <source>the disk of {} is full; free some space and go on: nothing that was converted so far is lost</source>
            <translation>{} 所在的磁盘已满；清理空间后可以继续，已转换的部分不会丢失。</translation>
        </message>
        <message>
            <source>{} is not valid JSON: {}</source>
            <translation>{} 不是有效的 JSON：{}</translation>
        </message>
        <message>
            <source>{} cannot be read: {}</source>
            <translation>无法读取 {}：{}</translation>
        </message>
        <message>
            <source>{} cannot be written: {}</source>
            <translation>无法写入 {}：{}</translation>
        </message>
        <message>
            <source>{}: group_size {} does not divide its {} columns; use a multiple of 64 that does, or "row"</source>
            <translation>{}：分组大小 {} 除不尽它的 {} 列；请用能整除的 64 的倍数，或“row”</translation>
        </message>
        <message>
            <source>{} is damaged: {}</source>
            <translation>{} 已损坏：{}</translation>
        </message>
        <message>
            <source>{} holds no model: neither bilin.json, nor config.json with safetensors, nor mp_rank_XX_model_states.pt or GGUF files</source>
            <translation>{} 里没有模型：没有 bilin.json，没有带 safetensors 的 config.json，也没有 mp_rank_XX_model_states.pt 或 GGUF 文件</translation>
        </message>
        <message>
            <source>{} holds {} GGUF files; choose one of them instead of the folder</source>
            <translation>{} 里有 {} 个 GGUF 文件；请选其中一个，不要选文件夹</translation>
        </message>
        <message>
            <source>{} is missing in {}</source>
            <translation>缺少 {}，它应在 {} 里</translation>
        </message>
        <message>
            <source>{} exists again; rename it first</source>
            <translation>{} 又出现了；请先给它改名</translation>
        </message>
        <message>
            <source>{} is no tokenizer of GLM-130B: take its ice_text.model</source>
            <translation>{} 不是 GLM-130B 的分词器；请选它的 ice_text.model</translation>
        </message>
        <message>
            <source>{} is no tokenizer file; GLM-130B's is ice_text.model</source>
            <translation>{} 不是分词器文件；GLM-130B 的是 ice_text.model</translation>
        </message>
        <message>
            <source>the trash holds no {}</source>
            <translation>回收站里没有 {}</translation>
        </message>
        <message>
            <source>{} cannot be deleted: {}</source>
            <translation>无法删除 {}：{}</translation>
        </message>
        <message>
            <source>{} cannot be restored: {}</source>
            <translation>无法恢复 {}：{}</translation>
        </message>
        <message>
            <source>{} cannot be emptied: {}</source>
            <translation>无法清空 {}：{}</translation>
        </message>
        <message>
            <source>{}: {} GB/s {}, {} of it reached{}</source>
            <translation>{}：带宽 {} GB/s（{}），按达到其 {} 计算{}</translation>
        </message>
        <message>
            <source>measured</source>
            <translation>实测</translation>
        </message>
        <message>
            <source>by its data sheet</source>
            <translation>产品标称</translation>
        </message>
        <message>
            <source>as given</source>
            <translation>按所填</translation>
        </message>
        <message>
            <source>, as measured of this model</source>
            <translation>，由这个模型实测得出</translation>
        </message>
        <message>
            <source>{} us per all-reduce, not measured</source>
            <translation>每次全归约按 {} 微秒计，未实测</translation>
        </message>
    </context>
    <context>
        <name>FindBar</name>
        <message>
            <source>Not in this conversation</source>
            <translation>这段对话里没有</translation>
        </message>
        <message>
            <source>Message {0} of {1}</source>
            <translation>第 {0} 条，共 {1} 条</translation>
        </message>
        <message>
            <source>Find in this conversation</source>
            <translation>在这段对话里查找</translation>
        </message>
        <message>
            <source>Previous message with it (Shift+Enter)</source>
            <translation>上一条（Shift+Enter）</translation>
        </message>
        <message>
            <source>Next message with it (Enter)</source>
            <translation>下一条（Enter）</translation>
        </message>
        <message>
            <source>Close (Esc)</source>
            <translation>关闭（Esc）</translation>
        </message>
    </context>
    <context>
        <name>FlagCard</name>
        <message>
            <source>Replace “{0}” with “{1}”</source>
            <translation>把“{0}”换成“{1}”</translation>
        </message>
    </context>
    <context>
        <name>FolderDialog</name>
        <message>
            <source>A folder for models</source>
            <translation>存放模型的文件夹</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Choose another folder…</source>
            <translation>选择其他文件夹…</translation>
        </message>
        <message>
            <source>Every file is copied, read again and compared; only then is the old one removed. It can be paused, and goes on after a restart.</source>
            <translation>每个文件先复制，再读回比对，确认无误后才删除原件。可以暂停，重启后会接着进行。</translation>
        </message>
        <message>
            <source>Models folder</source>
            <translation>模型文件夹</translation>
        </message>
        <message>
            <source>Models here stay where they are and are no longer listed.</source>
            <translation>现有模型留在原处，但不再列出。</translation>
        </message>
        <message>
            <source>Move</source>
            <translation>移动</translation>
        </message>
        <message>
            <source>Move all models there</source>
            <translation>把全部模型移到那里</translation>
        </message>
        <message>
            <source>Use</source>
            <translation>改用</translation>
        </message>
        <message>
            <source>Use that folder</source>
            <translation>改用那个文件夹</translation>
        </message>
    </context>
    <context>
        <name>Header</name>
        <message>
            <source>New chat</source>
            <translation>新对话</translation>
        </message>
        <message>
            <source>Rename this conversation</source>
            <translation>重命名这段对话</translation>
        </message>
        <message>
            <source>Title</source>
            <translation>标题</translation>
        </message>
        <message>
            <source>No model</source>
            <translation>没有模型</translation>
        </message>
        <message>
            <source>Choose a model</source>
            <translation>选择模型</translation>
        </message>
        <message>
            <source>Model: {0}</source>
            <translation>模型：{0}</translation>
        </message>
        <message>
            <source>Sampling {0}</source>
            <translation>采样 {0}</translation>
        </message>
        <message>
            <source>Sampling: temperature {0}</source>
            <translation>采样：温度 {0}</translation>
        </message>
        <message>
            <source>Chosen for this conversation: {0}</source>
            <translation>本对话选用：{0}</translation>
        </message>
        <message>
            <source>Whichever model is loaded</source>
            <translation>用当前加载的模型</translation>
        </message>
        <message>
            <source>{0} · not loaded</source>
            <translation>{0} · 未加载</translation>
        </message>
        <message>
            <source>{0}. It is loaded when you send a message.</source>
            <translation>{0}。发送消息时加载。</translation>
        </message>
    </context>
    <context>
        <name>HubDialog</name>
        <message>
            <source>Download</source>
            <translation>下载</translation>
        </message>
        <message>
            <source>Asking…</source>
            <translation>正在查询…</translation>
        </message>
        <message>
            <source>Ask {0}</source>
            <translation>查询 {0}</translation>
        </message>
        <message>
            <source>Files: {0}; {1} from {2}.</source>
            <translation>共 {0} 个文件，{1}，来自 {2}。</translation>
        </message>
        <message>
            <source>the hub does not say</source>
            <translation>模型库未注明</translation>
        </message>
        <message>
            <source>Revision: {0}.</source>
            <translation>版本：{0}。</translation>
        </message>
        <message>
            <source>Licence: {0}.</source>
            <translation>许可证：{0}。</translation>
        </message>
        <message>
            <source>Needs {0}, but only {1} are free.</source>
            <translation>需要 {0}，但磁盘只剩 {1}。</translation>
        </message>
        <message>
            <source>Needs {0} of disk; {1} are free.</source>
            <translation>需要 {0} 磁盘空间，剩余 {1}。</translation>
        </message>
        <message>
            <source>Converted to INT4 it takes {0}; the download is then removed.</source>
            <translation>转换为 INT4 后占 {0}，下载的文件随后删除。</translation>
        </message>
        <message>
            <source>Converted to INT4 it takes up to {0}; the download is then removed.</source>
            <translation>转换为 INT4 后最多占 {0}，下载的文件随后删除。</translation>
        </message>
        <message>
            <source>From a hub</source>
            <translation>从模型库下载</translation>
        </message>
        <message>
            <source>Choose a model, or name a repository. Nothing is asked before you click.</source>
            <translation>选一个模型，或填写仓库名。点击之前不会联网。</translation>
        </message>
        <message>
            <source>Source</source>
            <translation>来源</translation>
        </message>
        <message>
            <source>owner/name, or the address of its page</source>
            <translation>所有者/名称，或网页地址</translation>
        </message>
        <message>
            <source>Repository</source>
            <translation>仓库</translation>
        </message>
        <message>
            <source>Advanced</source>
            <translation>高级</translation>
        </message>
        <message>
            <source>Address</source>
            <translation>地址</translation>
        </message>
        <message>
            <source>Proxy</source>
            <translation>代理</translation>
        </message>
        <message>
            <source>Token</source>
            <translation>令牌</translation>
        </message>
        <message>
            <source>the hub's own; a mirror as https://hf-mirror.com</source>
            <translation>默认为官方地址；可填镜像，如 https://hf-mirror.com</translation>
        </message>
        <message>
            <source>the system's; another as http://host:port</source>
            <translation>默认用系统代理；可填 http://主机:端口</translation>
        </message>
        <message>
            <source>only for what is not public</source>
            <translation>仅下载非公开内容时需要</translation>
        </message>
        <message>
            <source>Kept in a file that only you can read; sent to this address and nowhere else.</source>
            <translation>保存在只有你能读取的文件里，只发送到这个地址。</translation>
        </message>
        <message>
            <source>No token is kept for this address any more.</source>
            <translation>已不再为这个地址保存令牌。</translation>
        </message>
        <message>
            <source>Forget the kept token</source>
            <translation>删除保存的令牌</translation>
        </message>
        <message>
            <source>Files</source>
            <translation>文件</translation>
        </message>
        <message>
            <source>File</source>
            <translation>文件</translation>
        </message>
        <message>
            <source>a whole row</source>
            <translation>整行</translation>
        </message>
        <message>
            <source>Name</source>
            <translation>名称</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Weights per group</source>
            <translation>每组权重数</translation>
        </message>
    </context>
    <context>
        <name>InlineEditor</name>
        <message>
            <source>The message's text</source>
            <translation>消息的文字</translation>
        </message>
        <message>
            <source>The version before is kept</source>
            <translation>原来的版本会保留</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Send</source>
            <translation>发送</translation>
        </message>
        <message>
            <source>Save</source>
            <translation>保存</translation>
        </message>
        <message>
            <source>Go on from here</source>
            <translation>接着写</translation>
        </message>
        <message>
            <source>The model goes on from the end of this text</source>
            <translation>模型从这段文字的末尾往下写</translation>
        </message>
    </context>
    <context>
        <name>InspectorDialog</name>
        <message>
            <source>What the model sees</source>
            <translation>模型看到的内容</translation>
        </message>
        <message>
            <source>Prompt</source>
            <translation>提示</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>{0} of {1} tokens</source>
            <translation>{0} / {1} 词元</translation>
        </message>
        <message>
            <source>This model has no such mask token: it is asked in a chat.</source>
            <translation>这个模型没有相应的空标记，因此以对话方式请求。</translation>
        </message>
        <message>
            <source>By mask token: what stands before and after is seen at once.</source>
            <translation>用空标记填写：前后文字同时可见。</translation>
        </message>
        <message>
            <source>By fill-in-the-middle tokens: the text before, the text after, the blank.</source>
            <translation>用中间填充标记：先给前文，再给后文，最后写空里的内容。</translation>
        </message>
    </context>
    <context>
        <name>KeyButton</name>
        <message>
            <source>Press keys …</source>
            <translation>请按键…</translation>
        </message>
        <message>
            <source>{what}: {keys}</source>
            <translation>{what}：{keys}</translation>
        </message>
        <message>
            <source>no keys</source>
            <translation>未设置</translation>
        </message>
        <message>
            <source>Press to change the keys</source>
            <translation>按下以更改按键</translation>
        </message>
        <message>
            <source>Change the keys</source>
            <translation>更改按键</translation>
        </message>
    </context>
    <context>
        <name>LinkDialog</name>
        <message>
            <source>Open a link</source>
            <translation>打开链接</translation>
        </message>
        <message>
            <source>Open this address in your browser?</source>
            <translation>用浏览器打开这个地址？</translation>
        </message>
        <message>
            <source>Address</source>
            <translation>地址</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Open</source>
            <translation>打开</translation>
        </message>
    </context>
    <context>
        <name>ListFooter</name>
        <message>
            <source>Plan a model you do not have</source>
            <translation>规划尚未拥有的模型</translation>
        </message>
        <message>
            <source>See what it would need on this machine, or on one you may buy</source>
            <translation>看看它在本机或打算购买的机器上需要多少显存</translation>
        </message>
        <message>
            <source>Trash: {0}</source>
            <translation>回收站：{0}</translation>
        </message>
        <message>
            <source>Where the models lie</source>
            <translation>模型存放位置</translation>
        </message>
        <message>
            <source>{0} is not there; is its disk connected?</source>
            <translation>找不到 {0}，所在磁盘是否已连接？</translation>
        </message>
        <message>
            <source>{0} cannot be read; you may not look into it.</source>
            <translation>无法读取 {0}：没有查看权限。</translation>
        </message>
    </context>
    <context>
        <name>MainWindow</name>
        <message>
            <source>Bilin</source>
            <translation>比邻</translation>
        </message>
        <message>
            <source>✓ Answered: {0}</source>
            <translation>✓ 已回答：{0}</translation>
        </message>
        <message>
            <source>The answer is there.</source>
            <translation>回答写完了。</translation>
        </message>
        <message>
            <source>The answer failed.</source>
            <translation>回答失败了。</translation>
        </message>
        <message>
            <source>The answer broke off.</source>
            <translation>回答中断了。</translation>
        </message>
        <message>
            <source>✗ Failed: {0}</source>
            <translation>✗ 回答失败：{0}</translation>
        </message>
        <message>
            <source>✗ Broken off: {0}</source>
            <translation>✗ 回答中断：{0}</translation>
        </message>
    </context>
    <context>
        <name>MessageBody</name>
        <message>
            <source>code</source>
            <translation>代码</translation>
        </message>
        <message>
            <source>Copy</source>
            <translation>复制</translation>
        </message>
        <message>
            <source>Copy this code</source>
            <translation>复制这段代码</translation>
        </message>
        <message>
            <source>Select all</source>
            <translation>全选</translation>
        </message>
    </context>
    <context>
        <name>MessageWidget</name>
        <message>
            <source>You</source>
            <translation>我</translation>
        </message>
        <message>
            <source>Message from {0}</source>
            <translation>{0}的消息</translation>
        </message>
        <message>
            <source>Queued: sent with your next message</source>
            <translation>排队中：随下一条消息一起发送</translation>
        </message>
        <message>
            <source>Queued: sent when this answer ends</source>
            <translation>排队中：这个回答结束后发送</translation>
        </message>
        <message>
            <source>Reading the prompt …</source>
            <translation>正在读入提示…</translation>
        </message>
        <message>
            <source>Stopped</source>
            <translation>已停止</translation>
        </message>
        <message>
            <source>{0} tok/s</source>
            <translation>{0} 词元/秒</translation>
        </message>
        <message>
            <source>{0} tokens</source>
            <translation>{0} 词元</translation>
        </message>
        <message>
            <source>first {0} s</source>
            <translation>首字 {0} s</translation>
        </message>
        <message>
            <source>length limit</source>
            <translation>到达长度上限</translation>
        </message>
        <message>
            <source>window full</source>
            <translation>上下文已满</translation>
        </message>
        <message>
            <source>Copy as Markdown</source>
            <translation>复制为 Markdown</translation>
        </message>
        <message>
            <source>Copy as plain text</source>
            <translation>复制为纯文本</translation>
        </message>
        <message>
            <source>What the model saw …</source>
            <translation>模型看到的内容…</translation>
        </message>
        <message>
            <source>Broken off and taken up again. {0}</source>
            <translation>写到一半中断，已从断处接着写。{0}</translation>
        </message>
        <message>
            <source>Delete, with all below it</source>
            <translation>删除这条及其后的消息</translation>
        </message>
        <message>
            <source>First word any moment</source>
            <translation>马上出第一个字</translation>
        </message>
        <message>
            <source>First word in about {0} s</source>
            <translation>约 {0} 秒出第一个字</translation>
        </message>
        <message>
            <source>Model: {0}</source>
            <translation>模型：{0}</translation>
        </message>
        <message>
            <source>Prompt: {0} tokens</source>
            <translation>提示：{0} 个词元</translation>
        </message>
        <message>
            <source>Seed: {0}</source>
            <translation>随机种子：{0}</translation>
        </message>
        <message>
            <source>The words before this are yours</source>
            <translation>此前的文字是你写的</translation>
        </message>
        <message>
            <source>Waiting for the model …</source>
            <translation>等待模型就绪…</translation>
        </message>
        <message>
            <source>begun by you</source>
            <translation>由你开头</translation>
        </message>
        <message>
            <source>edited by you</source>
            <translation>经你修改</translation>
        </message>
        <message>
            <source>{0} s more at most</source>
            <translation>最多还要 {0} 秒</translation>
        </message>
        <message>
            <source>{0}, the whole in {1} s at most</source>
            <translation>{0}，全文最多 {1} 秒</translation>
        </message>
    </context>
    <context>
        <name>ModelList</name>
        <message>
            <source>Add model</source>
            <translation>添加模型</translation>
        </message>
        <message>
            <source>Models</source>
            <translation>模型</translation>
        </message>
        <message>
            <source>No model has this name</source>
            <translation>没有这个名字的模型</translation>
        </message>
        <message>
            <source>Search models</source>
            <translation>搜索模型</translation>
        </message>
        <message>
            <source>blanks</source>
            <translation>填空</translation>
        </message>
        <message>
            <source>built in</source>
            <translation>内置</translation>
        </message>
        <message>
            <source>chat</source>
            <translation>对话</translation>
        </message>
        <message>
            <source>loaded</source>
            <translation>已加载</translation>
        </message>
        <message>
            <source>not verified</source>
            <translation>未校验</translation>
        </message>
        <message>
            <source>verified</source>
            <translation>已校验</translation>
        </message>
        <message>
            <source>From a hub</source>
            <translation>从模型库下载</translation>
        </message>
        <message>
            <source>needs its tokenizer file</source>
            <translation>缺少分词器文件</translation>
        </message>
        <message>
            <source>Drop a model's folder or GGUF file here</source>
            <translation>把模型的文件夹或 GGUF 文件拖到这里即可添加</translation>
        </message>
    </context>
    <context>
        <name>ModelsController</name>
        <message>
            <source>No device is switched on; at least one is needed.</source>
            <translation>没有启用任何设备；至少要启用一个。</translation>
        </message>
        <message>
            <source>Nothing was deleted: the list of models has changed.</source>
            <translation>没有删除任何模型：模型列表已发生变化。</translation>
        </message>
    </context>
    <context>
        <name>ModelsPage</name>
        <message>
            <source>A folder with a model</source>
            <translation>模型所在的文件夹</translation>
        </message>
        <message>
            <source>Delete</source>
            <translation>删除</translation>
        </message>
        <message>
            <source>Delete a model</source>
            <translation>删除模型</translation>
        </message>
        <message>
            <source>Delete {0}?</source>
            <translation>删除 {0}？</translation>
        </message>
        <message>
            <source>Deleted: {0}, {1} in the trash</source>
            <translation>已删除：{0}，回收站中占 {1}</translation>
        </message>
        <message>
            <source>It ends where it is; what is there stays.</source>
            <translation>到此为止，已有的内容会保留。</translation>
        </message>
        <message>
            <source>Remove from the list</source>
            <translation>从列表中移除</translation>
        </message>
        <message>
            <source>Remove {0} from the list?</source>
            <translation>从列表中移除 {0}？</translation>
        </message>
        <message>
            <source>Its folder stays:
{0}</source>
            <translation>它的文件夹仍在原处：
{0}</translation>
        </message>
        <message>
            <source>It goes to the trash; emptying that frees {0}.
{1}</source>
            <translation>它会进入回收站；清空后可腾出 {0}。
{1}</translation>
        </message>
        <message>
            <source>Stop it</source>
            <translation>停止</translation>
        </message>
        <message>
            <source>Stop the measurement?</source>
            <translation>停止测速？</translation>
        </message>
        <message>
            <source>Stop the work?</source>
            <translation>停止工作？</translation>
        </message>
        <message>
            <source>Undo</source>
            <translation>撤销</translation>
        </message>
        <message>
            <source>{0} is no longer listed; its folder stays</source>
            <translation>{0} 已不在列表中；它的文件夹仍在原处</translation>
        </message>
        <message>
            <source>The speed of {0} is being measured.</source>
            <translation>正在测量 {0} 的速度。</translation>
        </message>
        <message>
            <source>Nothing of it is kept.</source>
            <translation>不会保留测量结果。</translation>
        </message>
        <message>
            <source>{0} is at work.</source>
            <translation>{0} 正在工作。</translation>
        </message>
        <message>
            <source>A folder with a model…</source>
            <translation>模型文件夹…</translation>
        </message>
        <message>
            <source>A GGUF file…</source>
            <translation>GGUF 文件…</translation>
        </message>
        <message>
            <source>A GGUF file</source>
            <translation>GGUF 文件</translation>
        </message>
        <message>
            <source>{0}: {1} tok/s on this machine</source>
            <translation>{0}：本机实测 {1} 词元/秒</translation>
        </message>
        <message>
            <source>{0} is here</source>
            <translation>{0} 已添加</translation>
        </message>
        <message>
            <source>Delete what was downloaded or written for {0}?</source>
            <translation>删除“{0}”已下载或已写入的内容？</translation>
        </message>
        <message>
            <source>Discard</source>
            <translation>丢弃</translation>
        </message>
    </context>
    <context>
        <name>ModelsView</name>
        <message>
            <source>Let go to add it: a model’s folder, or a GGUF file</source>
            <translation>松手即可添加：模型文件夹或 GGUF 文件</translation>
        </message>
    </context>
    <context>
        <name>Notice</name>
        <message>
            <source>Hide details</source>
            <translation>收起详情</translation>
        </message>
        <message>
            <source>Details</source>
            <translation>详情</translation>
        </message>
        <message>
            <source>Warning</source>
            <translation>警告</translation>
        </message>
    </context>
    <context>
        <name>PlacementCard</name>
        <message>
            <source>A part of each layer on every GPU, all at the same time</source>
            <translation>每层切成几份，各卡同时计算</translation>
        </message>
        <message>
            <source>Automatic</source>
            <translation>自动</translation>
        </message>
        <message>
            <source>CPU</source>
            <translation>CPU</translation>
        </message>
        <message>
            <source>Context</source>
            <translation>上下文</translation>
        </message>
        <message>
            <source>Convert with one scale per row</source>
            <translation>改用每行一个比例转换</translation>
        </message>
        <message>
            <source>Devices</source>
            <translation>设备</translation>
        </message>
        <message>
            <source>Everything on the fastest device that holds it</source>
            <translation>整个模型放在装得下的最快设备上</translation>
        </message>
        <message>
            <source>GPU {0}</source>
            <translation>GPU {0}</translation>
        </message>
        <message>
            <source>Layer split</source>
            <translation>按层切分</translation>
        </message>
        <message>
            <source>Let the CPU help</source>
            <translation>让 CPU 分担</translation>
        </message>
        <message>
            <source>Memory kept free on each GPU</source>
            <translation>每张卡上留出不用的显存</translation>
        </message>
        <message>
            <source>One device</source>
            <translation>单卡</translation>
        </message>
        <message>
            <source>Placement</source>
            <translation>显存分布</translation>
        </message>
        <message>
            <source>Plan for other devices than this machine's, for example 4x24GiB</source>
            <translation>按别的设备来规划，例如 4x24GiB</translation>
        </message>
        <message>
            <source>Prompt</source>
            <translation>提示</translation>
        </message>
        <message>
            <source>Reserve</source>
            <translation>预留</translation>
        </message>
        <message>
            <source>Tensor parallel</source>
            <translation>张量并行</translation>
        </message>
        <message>
            <source>The fastest that fits</source>
            <translation>放得下的方式中最快的</translation>
        </message>
        <message>
            <source>Tokens of a prompt</source>
            <translation>一次提示的词元数</translation>
        </message>
        <message>
            <source>Use context {0}</source>
            <translation>上下文减到 {0}</translation>
        </message>
        <message>
            <source>Use {0}</source>
            <translation>使用 {0}</translation>
        </message>
        <message>
            <source>Use: {0}</source>
            <translation>改为{0}</translation>
        </message>
        <message>
            <source>Whole layers, one device after the other</source>
            <translation>整层依次放在各设备上</translation>
        </message>
        <message>
            <source>expected {0} tok/s</source>
            <translation>预计 {0} 词元/秒</translation>
        </message>
        <message>
            <source>first word {0} s</source>
            <translation>首字 {0} 秒</translation>
        </message>
        <message>
            <source>needs {0} MiB more</source>
            <translation>还差 {0} MiB</translation>
        </message>
        <message>
            <source>off</source>
            <translation>未启用</translation>
        </message>
        <message>
            <source>this machine, or e.g. 4x24GiB</source>
            <translation>本机；也可填 4x24GiB 这样的配置</translation>
        </message>
        <message>
            <source>{0} tokens</source>
            <translation>{0} 个词元</translation>
        </message>
        <message>
            <source>CPU layers</source>
            <translation>CPU 层数</translation>
        </message>
        <message>
            <source>Checks that this machine computes what it should; gives a report to send</source>
            <translation>检查本机的计算结果是否正确，并给出可发送的报告</translation>
        </message>
        <message>
            <source>Layers that the CPU computes at least; those no GPU holds come on top</source>
            <translation>至少由 CPU 计算的层数；显卡放不下的层另计</translation>
        </message>
        <message>
            <source>Measure speed</source>
            <translation>测速</translation>
        </message>
        <message>
            <source>Needs {0} MiB more on {1}</source>
            <translation>{1} 还差 {0} MiB</translation>
        </message>
        <message>
            <source>Self-test</source>
            <translation>自检</translation>
        </message>
        <message>
            <source>Times this model here, about 20 seconds; predictions then follow from it</source>
            <translation>在本机实测此模型，约 20 秒；之后的预测以此为准</translation>
        </message>
        <message>
            <source>estimated {0} tok/s</source>
            <translation>估计 {0} 词元/秒</translation>
        </message>
        <message>
            <source>measured {0} tok/s on {1}</source>
            <translation>{1} 实测 {0} 词元/秒</translation>
        </message>
        <message>
            <source>none</source>
            <translation>无</translation>
        </message>
        <message>
            <source>{0} layers</source>
            <translation>{0} 层</translation>
        </message>
        <message>
            <source>Keep the KV cache in 8 bits</source>
            <translation>KV 缓存改用 8 位</translation>
        </message>
    </context>
    <context>
        <name>PresetRow</name>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Delete “{0}”</source>
            <translation>删除“{0}”</translation>
        </message>
        <message>
            <source>Name of the preset</source>
            <translation>预设的名字</translation>
        </message>
        <message>
            <source>Preset</source>
            <translation>预设</translation>
        </message>
        <message>
            <source>Preset: {0}</source>
            <translation>预设：{0}</translation>
        </message>
        <message>
            <source>Rename “{0}” …</source>
            <translation>重命名“{0}”…</translation>
        </message>
        <message>
            <source>Save</source>
            <translation>保存</translation>
        </message>
        <message>
            <source>Save these values as a preset …</source>
            <translation>把当前设置存为预设…</translation>
        </message>
        <message>
            <source>none</source>
            <translation>无</translation>
        </message>
    </context>
    <context>
        <name>PromptDialog</name>
        <message>
            <source>What the model saw</source>
            <translation>模型看到的内容</translation>
        </message>
        <message>
            <source>The exact prompt</source>
            <translation>完整的提示</translation>
        </message>
        <message>
            <source>Show token numbers</source>
            <translation>显示词元编号</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>{0} of {1} tokens</source>
            <translation>{0} / {1} 词元</translation>
        </message>
        <message>
            <source>temperature {0}</source>
            <translation>温度 {0}</translation>
        </message>
        <message>
            <source>top-p {0}</source>
            <translation>top-p {0}</translation>
        </message>
        <message>
            <source>top-k {0}</source>
            <translation>top-k {0}</translation>
        </message>
        <message>
            <source>seed {0}</source>
            <translation>种子 {0}</translation>
        </message>
        <message>
            <source>the first {0} see each other</source>
            <translation>前 {0} 个互相可见</translation>
        </message>
    </context>
    <context>
        <name>QAbstractFileIconProvider</name>
        <message>
            <source>%1 File</source>
            <translation>%1 文件</translation>
        </message>
        <message>
            <source>Drive</source>
            <translation>磁盘</translation>
        </message>
        <message>
            <source>File</source>
            <translation>文件</translation>
        </message>
        <message>
            <source>Folder</source>
            <translation>文件夹</translation>
        </message>
        <message>
            <source>Shortcut</source>
            <translation>快捷方式</translation>
        </message>
        <message>
            <source>Unknown</source>
            <translation>未知</translation>
        </message>
    </context>
    <context>
        <name>QFileDialog</name>
        <message>
            <source>&amp;Look in:</source>
            <translation>位置(&amp;L)：</translation>
        </message>
        <message>
            <source>Computer</source>
            <translation>计算机</translation>
        </message>
        <message>
            <source>Files of &amp;type:</source>
            <translation>文件类型(&amp;T)：</translation>
        </message>
    </context>
    <context>
        <name>Rail</name>
        <message>
            <source>Busy</source>
            <translation>生成中</translation>
        </message>
        <message>
            <source>Chat</source>
            <translation>对话</translation>
        </message>
        <message>
            <source>Editor</source>
            <translation>填空</translation>
        </message>
        <message>
            <source>Engine: {0}</source>
            <translation>引擎：{0}</translation>
        </message>
        <message>
            <source>Fault</source>
            <translation>故障</translation>
        </message>
        <message>
            <source>Models</source>
            <translation>模型</translation>
        </message>
        <message>
            <source>Ready</source>
            <translation>就绪</translation>
        </message>
        <message>
            <source>Settings</source>
            <translation>设置</translation>
        </message>
        <message>
            <source>Starting</source>
            <translation>启动中</translation>
        </message>
        <message>
            <source>Stopped</source>
            <translation>已停止</translation>
        </message>
        <message>
            <source>Idle</source>
            <comment>the engine runs and no model is loaded</comment>
            <translation>未加载</translation>
        </message>
    </context>
    <context>
        <name>ReaderPanel</name>
        <message>
            <source>, </source>
            <translation>，</translation>
        </message>
        <message>
            <source>And {0} more, underlined in the text.</source>
            <translation>另有 {0} 处，已在正文中划出。</translation>
        </message>
        <message>
            <source>Close the second reader</source>
            <translation>关闭校读</translation>
        </message>
        <message>
            <source>Masks one word after the other and compares it with what the model expects from both sides.</source>
            <translation>逐词遮住，由模型从前后文推测这里该是什么，再与原文比较。</translation>
        </message>
        <message>
            <source>Measured: of words planted wrong, among the three most unlikely were {0}.</source>
            <translation>实测：在句中埋一个错词，错词排进最可疑的前三处的比例为{0}。</translation>
        </message>
        <message>
            <source>No unlikely words</source>
            <translation>没有可疑之处</translation>
        </message>
        <message>
            <source>Read what is selected</source>
            <translation>只读选中的文字</translation>
        </message>
        <message>
            <source>Second reader</source>
            <translation>校读</translation>
        </message>
        <message>
            <source>Selection</source>
            <translation>读所选</translation>
        </message>
        <message>
            <source>Sentence {0} of {1}</source>
            <translation>第 {0} 句，共 {1} 句</translation>
        </message>
        <message>
            <source>Stop</source>
            <translation>停止</translation>
        </message>
        <message>
            <source>Untested: how well this model finds wrong words was not measured. Read its marks with care.</source>
            <translation>未测试：没有测过这个模型找错词的本领，它的标记仅供参考。</translation>
        </message>
        <message>
            <source>Waiting for the model …</source>
            <translation>正在等待模型…</translation>
        </message>
        <message>
            <source>{0} % in Chinese ({1} sentences)</source>
            <translation>中文 {0} %（{1} 句）</translation>
        </message>
        <message>
            <source>{0} % in English ({1} sentences)</source>
            <translation>英文 {0} %（{1} 句）</translation>
        </message>
        <message>
            <source>{0} of {1} sentences read</source>
            <translation>已读 {0} / {1} 句</translation>
        </message>
        <message>
            <source>{0} unlikely words</source>
            <translation>{0} 处可疑</translation>
        </message>
        <message>
            <source>{0} words/s</source>
            <translation>每秒 {0} 词</translation>
        </message>
        <message>
            <source>Read changes</source>
            <translation>读改动之处</translation>
        </message>
        <message>
            <source>Read all</source>
            <translation>读全文</translation>
        </message>
    </context>
    <context>
        <name>RenameDialog</name>
        <message>
            <source>Rename</source>
            <translation>重命名</translation>
        </message>
        <message>
            <source>Name</source>
            <translation>名称</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Only the name changes; the files stay in {0}.</source>
            <translation>只改名称，文件仍在 {0}。</translation>
        </message>
        <message>
            <source>{0} characters are too many; up to {1} are possible.</source>
            <translation>{0} 个字符太长，最多 {1} 个。</translation>
        </message>
        <message>
            <source>The name holds a character that cannot be seen; type it anew.</source>
            <translation>名称里有看不见的字符，请重新输入。</translation>
        </message>
    </context>
    <context>
        <name>ReportDialog</name>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>Copy</source>
            <translation>复制</translation>
        </message>
        <message>
            <source>Names of devices and figures; nothing of your texts. Copy it to send it.</source>
            <translation>只含设备名称和数据，不含你的任何文字。复制后即可发送。</translation>
        </message>
        <message>
            <source>Self-test</source>
            <translation>自检</translation>
        </message>
    </context>
    <context>
        <name>RevisionsDialog</name>
        <message>
            <source>Earlier versions</source>
            <translation>以前的版本</translation>
        </message>
        <message>
            <source>Restoring keeps the present text as a version and can be undone.</source>
            <translation>恢复时会把现在的文字也存为一个版本，并且可以撤销。</translation>
        </message>
        <message>
            <source>{0} characters</source>
            <translation>{0} 字</translation>
        </message>
        <message>
            <source>Text of the earlier version</source>
            <translation>以前版本的文字</translation>
        </message>
        <message>
            <source>There is none yet. One is kept when a document that was opened is changed, then every five minutes of writing, and before all blanks are filled.</source>
            <translation>还没有以前的版本。打开的文档改动时会存一个，之后每写五分钟存一个，全部填写之前也会存一个。</translation>
        </message>
        <message>
            <source>Restore</source>
            <translation>恢复</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
    </context>
    <context>
        <name>RulerBar</name>
        <message>
            <source>Window</source>
            <translation>窗口</translation>
        </message>
        <message>
            <source>no blank to fill</source>
            <translation>没有要填的空</translation>
        </message>
        <message>
            <source>{0} / {1} tokens</source>
            <translation>{0} / {1} 词元</translation>
        </message>
        <message>
            <source>all of the text is inside</source>
            <translation>全文都在窗口内</translation>
        </message>
        <message>
            <source>the nearest text; the rest is grey</source>
            <translation>取最近的文字，其余显示为灰色</translation>
        </message>
    </context>
    <context>
        <name>SamplingPopover</name>
        <message>
            <source>Sampling</source>
            <translation>采样</translation>
        </message>
        <message>
            <source>Reset</source>
            <translation>重置</translation>
        </message>
        <message>
            <source>Temperature</source>
            <translation>温度</translation>
        </message>
        <message>
            <source>Top-p</source>
            <translation>Top-p</translation>
        </message>
        <message>
            <source>Top-k (0 = off)</source>
            <translation>Top-k（0 = 不用）</translation>
        </message>
        <message>
            <source>Repetition penalty</source>
            <translation>重复惩罚</translation>
        </message>
        <message>
            <source>Longest answer, tokens</source>
            <translation>最长回答（词元）</translation>
        </message>
        <message>
            <source>Seed</source>
            <translation>随机种子</translation>
        </message>
        <message>
            <source>Think before answering</source>
            <translation>先思考再回答</translation>
        </message>
        <message>
            <source>Reasoning makes hard questions right more often, and takes its time</source>
            <translation>难题先思考更容易答对，但要多花时间</translation>
        </message>
        <message>
            <source>at random</source>
            <translation>每次随机</translation>
        </message>
        <message>
            <source>System prompt</source>
            <translation>系统提示</translation>
        </message>
        <message>
            <source>What the model should know or how it should speak</source>
            <translation>让模型知道些什么，或者怎样说话</translation>
        </message>
        <message>
            <source>Back to what the model recommends</source>
            <translation>恢复为模型推荐的设置</translation>
        </message>
    </context>
    <context>
        <name>Sentences</name>
        <message>
            <source>The engine was killed from outside; when memory runs out, the system does that.</source>
            <translation>引擎被外部强行结束；内存用尽时系统会这样做。</translation>
        </message>
        <message>
            <source>The engine crashed ({signal}).</source>
            <translation>引擎崩溃了（{signal}）。</translation>
        </message>
        <message>
            <source>The engine was ended from outside (signal {number}).</source>
            <translation>引擎被外部结束（信号 {number}）。</translation>
        </message>
        <message>
            <source>The engine ended by itself (exit code {code}).</source>
            <translation>引擎自行退出（退出码 {code}）。</translation>
        </message>
        <message>
            <source>The engine stopped responding and was ended.</source>
            <translation>引擎没有响应，已被结束。</translation>
        </message>
        <message>
            <source>The engine sent something that is no message, and was ended.</source>
            <translation>引擎发来了无法识别的内容，已被结束。</translation>
        </message>
        <message>
            <source>The engine started but did not answer, and was ended.</source>
            <translation>引擎启动后没有回应，已被结束。</translation>
        </message>
        <message>
            <source>The engine and the window do not fit together: {reason}</source>
            <translation>引擎与窗口的版本不匹配：{reason}</translation>
        </message>
        <message>
            <source>The engine could not be started: {reason}</source>
            <translation>引擎无法启动：{reason}</translation>
        </message>
        <message>
            <source>The engine was stopped.</source>
            <translation>引擎已停止。</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>out of memory</comment>
            <translation>内存不足：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>the text does not fit</comment>
            <translation>放不进上下文：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>a model folder is damaged</comment>
            <translation>模型文件损坏：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>there is no such model</comment>
            <translation>没有这个模型：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>a model of an unknown kind</comment>
            <translation>不支持这种模型：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>no model is loaded</comment>
            <translation>没有加载模型：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>a part of the engine ended</comment>
            <translation>引擎的一部分结束了：{message}</translation>
        </message>
        <message>
            <source>{message}</source>
            <comment>any other error of the engine</comment>
            <translation>引擎报告错误：{message}</translation>
        </message>
        <message>
            <source>{reason} It was started again.</source>
            <translation>{reason}已重新启动。</translation>
        </message>
        <message>
            <source>{reason} It ended {count} times in a row and is not started again by itself.</source>
            <translation>{reason}它连续结束了 {count} 次，不再自动重启。</translation>
        </message>
        <message>
            <source>There is no model that can be loaded.</source>
            <translation>没有可以加载的模型。</translation>
        </message>
        <message>
            <source>The model {model} cannot be used now; another one is loaded.</source>
            <translation>模型 {model} 现在不能用；已加载另一个模型。</translation>
        </message>
        <message>
            <source>Bilin was closed while this was being written.</source>
            <translation>生成时比邻被关闭。</translation>
        </message>
        <message>
            <source>An answer is being written; stop it first.</source>
            <translation>正在生成回答；请先停止。</translation>
        </message>
        <message>
            <source>The disk is full: nothing can be saved in {folder}. Free some space.</source>
            <translation>磁盘已满：无法保存到 {folder}。请腾出一些空间。</translation>
        </message>
        <message>
            <source>{folder} is read-only: nothing can be saved there.</source>
            <translation>{folder} 是只读的：无法保存。</translation>
        </message>
        <message>
            <source>The database is damaged. Close Bilin and open it again: it then carries over all that can be read.</source>
            <translation>数据库已损坏。请关闭比邻再打开：能读出的内容都会转移过来。</translation>
        </message>
        <message>
            <source>Another program holds the database in {folder}; try again.</source>
            <translation>另一个程序占用着 {folder} 里的数据库；请再试一次。</translation>
        </message>
        <message>
            <source>Nothing can be saved in {folder}.</source>
            <translation>无法保存到 {folder}。</translation>
        </message>
        <message>
            <source>The database was damaged. {messages} messages in {conversations} conversations could be read and are here; the damaged file is kept as {file}.</source>
            <translation>数据库曾经损坏。已读出 {conversations} 段对话中的 {messages} 条消息；损坏的文件保留为 {file}。</translation>
        </message>
        <message>
            <source>The conversations in {folder} were written by a later version of Bilin and stay as they are.</source>
            <translation>{folder} 里的对话由更新版本的比邻写成，保持不动。</translation>
        </message>
        <message>
            <source>Until that is mended, what you write lasts only until Bilin is closed.</source>
            <translation>在解决之前，写下的内容只保留到比邻关闭为止。</translation>
        </message>
        <message>
            <source>{file} cannot be read ({reason}); the defaults are used until you save.</source>
            <translation>无法读取 {file}（{reason}）；保存之前使用默认值。</translation>
        </message>
        <message>
            <source>{key} = {value} in {file} is not possible ({allowed}); {used} is used.</source>
            <translation>{file} 中的 {key} = {value} 不可用（应为 {allowed}）；改用 {used}。</translation>
        </message>
        <message>
            <source>You</source>
            <translation>我</translation>
        </message>
        <message>
            <source>Answer</source>
            <translation>回答</translation>
        </message>
        <message>
            <source>Exported to {path}</source>
            <translation>已导出到 {path}</translation>
        </message>
        <message>
            <source>{path} could not be written: {reason}</source>
            <translation>无法写入 {path}：{reason}</translation>
        </message>
        <message>
            <source>the conversation was deleted</source>
            <translation>这条对话记录已被删除</translation>
        </message>
        <message>
            <source>Conversations imported: {number}</source>
            <translation>已导入 {number} 个对话</translation>
        </message>
        <message>
            <source>{name} holds no conversation</source>
            <translation>{name} 里没有对话</translation>
        </message>
        <message>
            <source>{name} could not be imported: {reason}</source>
            <translation>无法导入 {name}：{reason}</translation>
        </message>
        <message>
            <source>The blank was deleted while it was filled; the fill is dropped.</source>
            <translation>填写时空被删除了，填好的内容已丢弃。</translation>
        </message>
        <message>
            <source>Choose a blank, and wait until a model is loaded.</source>
            <translation>请选一个空，并等模型加载完成。</translation>
        </message>
        <message>
            <source>A blank is being filled; stop it first.</source>
            <translation>正在填一个空，请先停止。</translation>
        </message>
        <message>
            <source>Saved as {file}</source>
            <translation>已存为 {file}</translation>
        </message>
        <message>
            <source>{file} cannot be used: {reason}</source>
            <translation>无法使用 {file}：{reason}</translation>
        </message>
        <message>
            <source>it is not there</source>
            <translation>文件不存在</translation>
        </message>
        <message>
            <source>the system does not allow it</source>
            <translation>系统不允许</translation>
        </message>
        <message>
            <source>it is a folder</source>
            <translation>这是文件夹</translation>
        </message>
        <message>
            <source>the disk is full</source>
            <translation>磁盘已满</translation>
        </message>
        <message>
            <source>the disk can only be read</source>
            <translation>磁盘只读</translation>
        </message>
        <message>
            <source>the disk quota is used up</source>
            <translation>磁盘配额已用完</translation>
        </message>
        <message>
            <source>the disk reports an error</source>
            <translation>磁盘报告错误</translation>
        </message>
        <message>
            <source>its disk does not answer</source>
            <translation>所在磁盘没有响应</translation>
        </message>
        <message>
            <source>another program is using it</source>
            <translation>另一个程序正在使用它</translation>
        </message>
        <message>
            <source>its name is too long</source>
            <translation>文件名太长</translation>
        </message>
        <message>
            <source>as it was opened</source>
            <translation>打开时的样子</translation>
        </message>
        <message>
            <source>before all blanks were filled</source>
            <translation>全部填写之前</translation>
        </message>
        <message>
            <source>before an earlier version was restored</source>
            <translation>恢复以前的版本之前</translation>
        </message>
        <message>
            <source>while writing</source>
            <translation>书写过程中</translation>
        </message>
        <message>
            <source>A message holds {most} attachments of {characters} characters in all; this one is left out.</source>
            <translation>一条消息最多带 {most} 个附件，合计 {characters} 个字符；这一个没有加上。</translation>
        </message>
        <message>
            <source>The model {model} of this conversation cannot be used now; the loaded one answers.</source>
            <translation>本对话选用的模型 {model} 现在用不了，由当前加载的模型回答。</translation>
        </message>
        <message>
            <source>pasted text {number}</source>
            <translation>粘贴的文字 {number}</translation>
        </message>
        <message>
            <source>{name} cannot be read: {reason}</source>
            <translation>{name} 读不出来：{reason}</translation>
        </message>
        <message>
            <source>{name} is empty; there is nothing to attach.</source>
            <translation>{name} 是空的，没有内容可添加。</translation>
        </message>
        <message>
            <source>{name} is not a file; attach text or code files.</source>
            <translation>{name} 不是文件；请添加文本或代码文件。</translation>
        </message>
        <message>
            <source>{name} is not text; only text and code files can be attached.</source>
            <translation>{name} 不是文本；只能添加文本或代码文件。</translation>
        </message>
        <message>
            <source>{name} is {size} MB; a file may have {most} MB at most.</source>
            <translation>{name} 有 {size} MB；单个文件最大 {most} MB。</translation>
        </message>
        <message>
            <source>{chosen} is not there; until the next start {used} is used, and {chosen} stays as it is.</source>
            <translation>找不到 {chosen}；到下次启动前改用 {used}，{chosen} 不受影响。</translation>
        </message>
        <message>
            <source>Your data are in {new} now.</source>
            <translation>数据已移到 {new}。</translation>
        </message>
        <message>
            <source>Your data are in {new} now. {old} still has them too; delete it when you like.</source>
            <translation>数据已复制到 {new}。{old} 中仍有一份，可以自行删除。</translation>
        </message>
        <message>
            <source>Your data could not be moved and stay in {old}: {reason}</source>
            <translation>数据无法移动，仍在 {old}：{reason}</translation>
        </message>
        <message>
            <source>The applications menu could not be changed: {reason}</source>
            <translation>无法修改应用程序菜单：{reason}</translation>
        </message>
        <message>
            <source>The report is on the clipboard. Read it before you send it.</source>
            <translation>报告已复制到剪贴板，发送前请先看一遍。</translation>
        </message>
        <message>
            <source>{message}. Another source, or a mirror under Advanced, may be reachable.</source>
            <translation>{message}。可以换一个来源，或在“高级”里填写镜像地址。</translation>
        </message>
        <message>
            <source>A fault in Bilin: this could not be done. Its log tells more.</source>
            <translation>比邻出了内部错误，这一步没有完成。详情见日志。</translation>
        </message>
    </context>
    <context>
        <name>SettingsView</name>
        <message>
            <source>Settings</source>
            <translation>设置</translation>
        </message>
        <message>
            <source>Look</source>
            <translation>外观</translation>
        </message>
        <message>
            <source>Writing</source>
            <translation>输入</translation>
        </message>
        <message>
            <source>Engine</source>
            <translation>引擎</translation>
        </message>
        <message>
            <source>Your data</source>
            <translation>数据</translation>
        </message>
        <message>
            <source>As the system</source>
            <translation>跟随系统</translation>
        </message>
        <message>
            <source>Light</source>
            <translation>浅色</translation>
        </message>
        <message>
            <source>Dark</source>
            <translation>深色</translation>
        </message>
        <message>
            <source>Enter</source>
            <translation>Enter</translation>
        </message>
        <message>
            <source>Ctrl+Enter</source>
            <translation>Ctrl+Enter</translation>
        </message>
        <message>
            <source>Language</source>
            <translation>语言</translation>
        </message>
        <message>
            <source>Of the window, at once</source>
            <translation>立即切换窗口语言</translation>
        </message>
        <message>
            <source>Theme</source>
            <translation>主题</translation>
        </message>
        <message>
            <source>Code size</source>
            <translation>代码大小</translation>
        </message>
        <message>
            <source>Send with</source>
            <translation>发送键</translation>
        </message>
        <message>
            <source>While an input method composes, no key sends</source>
            <translation>输入法组字时，任何键都不会发送</translation>
        </message>
        <message>
            <source>Keyboard shortcuts</source>
            <translation>键盘快捷键</translation>
        </message>
        <message>
            <source>Show all keyboard shortcuts</source>
            <translation>查看所有键盘快捷键</translation>
        </message>
        <message>
            <source>Never</source>
            <translation>从不</translation>
        </message>
        <message>
            <source> min</source>
            <translation> 分钟</translation>
        </message>
        <message>
            <source>Unload an idle model after</source>
            <translation>模型空闲多久后卸载</translation>
        </message>
        <message>
            <source>Frees its memory; the next message loads it again. From the next start on</source>
            <translation>释放内存；下一条消息会重新加载。下次启动时生效</translation>
        </message>
        <message>
            <source>Low</source>
            <translation>低</translation>
        </message>
        <message>
            <source>Normal</source>
            <translation>普通</translation>
        </message>
        <message>
            <source>Priority</source>
            <translation>优先级</translation>
        </message>
        <message>
            <source>Low leaves the processor to other programs first. From the next start on</source>
            <translation>“低”让其他程序先用处理器。下次启动时生效</translation>
        </message>
        <message>
            <source>Open folder</source>
            <translation>打开文件夹</translation>
        </message>
        <message>
            <source>Open the folder with your data</source>
            <translation>打开存放数据的文件夹</translation>
        </message>
        <message>
            <source>This program</source>
            <translation>本程序</translation>
        </message>
        <message>
            <source>Window font</source>
            <translation>界面字体</translation>
        </message>
        <message>
            <source>Text font</source>
            <translation>正文字体</translation>
        </message>
        <message>
            <source>Of messages and documents</source>
            <translation>用于消息和文档</translation>
        </message>
        <message>
            <source>Code font</source>
            <translation>代码字体</translation>
        </message>
        <message>
            <source>Suited to the language</source>
            <translation>随界面语言</translation>
        </message>
        <message>
            <source>Size of the window font</source>
            <translation>界面字号</translation>
        </message>
        <message>
            <source>Size of the text font</source>
            <translation>正文字号</translation>
        </message>
        <message>
            <source>Show and change</source>
            <translation>查看与更改</translation>
        </message>
        <message>
            <source>Tell me when a long answer ends</source>
            <translation>长回答写完时通知我</translation>
        </message>
        <message>
            <source>By a message of the desktop, if the window is not in front</source>
            <translation>窗口不在最前面时，由桌面弹出通知</translation>
        </message>
        <message>
            <source>Conversations and models</source>
            <translation>对话记录与模型</translation>
        </message>
        <message>
            <source>Move …</source>
            <translation>移动…</translation>
        </message>
        <message>
            <source>Keep your data in another folder</source>
            <translation>把数据放到别的文件夹</translation>
        </message>
        <message>
            <source>The folder changes with a restart</source>
            <translation>重启后更换文件夹</translation>
        </message>
        <message>
            <source>From then on everything is in {0}</source>
            <translation>此后数据都在 {0}</translation>
        </message>
        <message>
            <source>Restart now</source>
            <translation>立即重启</translation>
        </message>
        <message>
            <source>Applications menu</source>
            <translation>应用程序菜单</translation>
        </message>
        <message>
            <source>Bilin is in the menu, for your account only</source>
            <translation>比邻已在菜单中，仅对当前用户</translation>
        </message>
        <message>
            <source>Starts Bilin from the desktop, for your account only</source>
            <translation>从桌面启动比邻，仅对当前用户</translation>
        </message>
        <message>
            <source>Remove from the menu</source>
            <translation>从菜单移除</translation>
        </message>
        <message>
            <source>Add to the menu</source>
            <translation>添加到菜单</translation>
        </message>
        <message>
            <source>Report for a question or a fault</source>
            <translation>提问或报错用的报告</translation>
        </message>
        <message>
            <source>Versions, devices and the last log lines; never what you write</source>
            <translation>版本、设备和最近的日志，不含你写的内容</translation>
        </message>
        <message>
            <source>Copy report</source>
            <translation>复制报告</translation>
        </message>
    </context>
    <context>
        <name>Shortcuts</name>
        <message>
            <source>Accept its next word</source>
            <translation>只接受下一个词</translation>
        </message>
        <message>
            <source>Accept the candidate</source>
            <translation>接受候选</translation>
        </message>
        <message>
            <source>Break the line</source>
            <translation>换行</translation>
        </message>
        <message>
            <source>Chat</source>
            <translation>对话</translation>
        </message>
        <message>
            <source>Delete (in the conversations)</source>
            <translation>删除（在对话列表）</translation>
        </message>
        <message>
            <source>Edit the last message (empty field)</source>
            <translation>编辑上一条消息（输入框为空时）</translation>
        </message>
        <message>
            <source>Editor</source>
            <translation>填空</translation>
        </message>
        <message>
            <source>Fill all blanks</source>
            <translation>填写所有空</translation>
        </message>
        <message>
            <source>Fill the blank</source>
            <translation>填这个空</translation>
        </message>
        <message>
            <source>Find in what is shown</source>
            <translation>在当前内容里查找</translation>
        </message>
        <message>
            <source>Latest message (in the messages)</source>
            <translation>回到最新消息（在消息区）</translation>
        </message>
        <message>
            <source>Long blank</source>
            <translation>长空</translation>
        </message>
        <message>
            <source>Models</source>
            <translation>模型</translation>
        </message>
        <message>
            <source>New chat</source>
            <translation>新对话</translation>
        </message>
        <message>
            <source>Next candidate</source>
            <translation>下一个候选</translation>
        </message>
        <message>
            <source>Other candidates</source>
            <translation>换一批候选</translation>
        </message>
        <message>
            <source>Rename (in the conversations)</source>
            <translation>重命名（在对话列表）</translation>
        </message>
        <message>
            <source>Search conversations</source>
            <translation>搜索对话</translation>
        </message>
        <message>
            <source>Send the message</source>
            <translation>发送消息</translation>
        </message>
        <message>
            <source>Settings</source>
            <translation>设置</translation>
        </message>
        <message>
            <source>Stop the answer</source>
            <translation>停止回答</translation>
        </message>
        <message>
            <source>This list</source>
            <translation>快捷键列表</translation>
        </message>
        <message>
            <source>Short blank</source>
            <translation>短空</translation>
        </message>
        <message>
            <source>Candidate before</source>
            <translation>上一个候选</translation>
        </message>
        <message>
            <source>Proofread (in the editor)</source>
            <translation>校读（填空页）</translation>
        </message>
        <message>
            <source>Open a file (in the editor)</source>
            <translation>打开文件（填空页）</translation>
        </message>
        <message>
            <source>Save as (in the editor)</source>
            <translation>另存为（填空页）</translation>
        </message>
    </context>
    <context>
        <name>ShortcutsDialog</name>
        <message>
            <source>Keyboard shortcuts</source>
            <translation>键盘快捷键</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>{keys} is needed for writing.</source>
            <translation>{keys} 是书写要用的键。</translation>
        </message>
        <message>
            <source>{keys} is already there for: {what}</source>
            <translation>{keys} 已用于：{what}</translation>
        </message>
        <message>
            <source>Press a shortcut’s keys here to change them; Backspace takes them away.</source>
            <translation>点一下按键就可以更改；按退格键则不设快捷键。</translation>
        </message>
        <message>
            <source>Use it here</source>
            <translation>改用在这里</translation>
        </message>
        <message>
            <source>Leave it</source>
            <translation>保持不变</translation>
        </message>
        <message>
            <source>Reset all</source>
            <translation>全部恢复默认</translation>
        </message>
        <message>
            <source>The same in every program; the send key is in Settings</source>
            <translation>这些键各处通用，不作更改；发送键在“设置”里选</translation>
        </message>
    </context>
    <context>
        <name>Startup</name>
        <message>
            <source>Your data are on their way to the new folder …</source>
            <translation>正在把数据移到新的文件夹…</translation>
        </message>
    </context>
    <context>
        <name>TextView</name>
        <message>
            <source>, </source>
            <translation>、</translation>
        </message>
        <message>
            <source>Expected: {0}</source>
            <translation>模型认为是：{0}</translation>
        </message>
    </context>
    <context>
        <name>Thought</name>
        <message>
            <source>Thinking …</source>
            <translation>思考中…</translation>
        </message>
        <message>
            <source>Thought before answering</source>
            <translation>回答前的思考</translation>
        </message>
    </context>
    <context>
        <name>TokenizerRow</name>
        <message>
            <source>Choose the tokenizer file</source>
            <translation>选择分词器文件</translation>
        </message>
        <message>
            <source>Choose…</source>
            <translation>选择…</translation>
        </message>
        <message>
            <source>The model needs it to read text. You can convert now and add it later.</source>
            <translation>模型需要它才能读取文字。可以先转换，以后再添加。</translation>
        </message>
        <message>
            <source>Tokenizer</source>
            <translation>分词器</translation>
        </message>
        <message>
            <source>ice_text.model is not beside the checkpoint</source>
            <translation>检查点旁边没有 ice_text.model</translation>
        </message>
    </context>
    <context>
        <name>Transcript</name>
        <message>
            <source>Messages</source>
            <translation>消息</translation>
        </message>
        <message>
            <source>Latest</source>
            <translation>最新</translation>
        </message>
        <message>
            <source>Go to the latest message</source>
            <translation>回到最新消息</translation>
        </message>
    </context>
    <context>
        <name>TrashDialog</name>
        <message>
            <source>Untitled</source>
            <translation>无标题</translation>
        </message>
        <message>
            <source>Nothing leaves the trash by itself.</source>
            <translation>回收站里的内容会一直保留，直到你删除。</translation>
        </message>
        <message>
            <source>The trash is empty.</source>
            <translation>回收站是空的。</translation>
        </message>
        <message>
            <source>Delete for good: {0}?</source>
            <translation>彻底删除“{0}”？</translation>
        </message>
        <message>
            <source>Delete {0} items for good?</source>
            <translation>彻底删除这 {0} 项？</translation>
        </message>
        <message>
            <source>Delete everything in the trash for good?</source>
            <translation>彻底删除回收站里的全部内容？</translation>
        </message>
        <message>
            <source>Trash</source>
            <translation>回收站</translation>
        </message>
        <message>
            <source>Title</source>
            <translation>标题</translation>
        </message>
        <message>
            <source>Deleted</source>
            <translation>删除时间</translation>
        </message>
        <message>
            <source>Empty the trash …</source>
            <translation>清空回收站…</translation>
        </message>
        <message>
            <source>Delete for good …</source>
            <translation>彻底删除…</translation>
        </message>
        <message>
            <source>Restore</source>
            <translation>恢复</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>关闭</translation>
        </message>
        <message>
            <source>Restore {0}</source>
            <translation>恢复 {0}</translation>
        </message>
        <message>
            <source>Empty: frees {0} …</source>
            <translation>清空，释放 {0}…</translation>
        </message>
    </context>
    <context>
        <name>_FactsCard</name>
        <message>
            <source>Family</source>
            <translation>系列</translation>
        </message>
        <message>
            <source>Layers / heads</source>
            <translation>层 / 头</translation>
        </message>
        <message>
            <source>Licence</source>
            <translation>许可</translation>
        </message>
        <message>
            <source>On disk</source>
            <translation>磁盘</translation>
        </message>
        <message>
            <source>Parameters</source>
            <translation>参数</translation>
        </message>
        <message>
            <source>Precision</source>
            <translation>精度</translation>
        </message>
        <message>
            <source>Source</source>
            <translation>来源</translation>
        </message>
        <message>
            <source>Window</source>
            <translation>窗口</translation>
        </message>
    </context>
    <context>
        <name>_Line</name>
        <message>
            <source>Cancel</source>
            <translation>取消</translation>
        </message>
        <message>
            <source>Clear</source>
            <translation>清除</translation>
        </message>
        <message>
            <source>Convert</source>
            <translation>转换</translation>
        </message>
        <message>
            <source>Do this next: {0}</source>
            <translation>接下来先做：{0}</translation>
        </message>
        <message>
            <source>Download</source>
            <translation>下载</translation>
        </message>
        <message>
            <source>Import</source>
            <translation>导入</translation>
        </message>
        <message>
            <source>Pause</source>
            <translation>暂停</translation>
        </message>
        <message>
            <source>Resume</source>
            <translation>继续</translation>
        </message>
        <message>
            <source>Try again</source>
            <translation>重试</translation>
        </message>
        <message>
            <source>Verify</source>
            <translation>校验</translation>
        </message>
        <message>
            <source>done</source>
            <translation>已完成</translation>
        </message>
        <message>
            <source>paused at {0} %</source>
            <translation>已暂停，{0} %</translation>
        </message>
        <message>
            <source>waiting</source>
            <translation>等待中</translation>
        </message>
        <message>
            <source>{0} h left</source>
            <translation>剩余 {0} 小时</translation>
        </message>
        <message>
            <source>{0} min left</source>
            <translation>剩余 {0} 分钟</translation>
        </message>
        <message>
            <source>{0} s left</source>
            <translation>剩余 {0} 秒</translation>
        </message>
        <message>
            <source>waiting for the hub</source>
            <translation>等待模型库</translation>
        </message>
        <message>
            <source>Move models</source>
            <translation>移动模型</translation>
        </message>
        <message>
            <source>Report</source>
            <translation>报告</translation>
        </message>
        <message>
            <source>Self-test</source>
            <translation>自检</translation>
        </message>
        <message>
            <source>checking values</source>
            <translation>检查数值</translation>
        </message>
        <message>
            <source>measuring what matters</source>
            <translation>校准</translation>
        </message>
        <message>
            <source>checksums</source>
            <translation>计算校验和</translation>
        </message>
        <message>
            <source>shard {0} of {1}</source>
            <translation>第 {0} / {1} 个分片</translation>
        </message>
        <message>
            <source>Deletes what was downloaded or written so far</source>
            <translation>会删除已下载或已写入的内容</translation>
        </message>
        <message>
            <source>Discard …</source>
            <translation>丢弃…</translation>
        </message>
    </context>
    <context>
        <name>_LoadCard</name>
        <message>
            <source>Choosing the number of threads</source>
            <translation>正在选择线程数</translation>
        </message>
        <message>
            <source>Loading</source>
            <translation>加载中</translation>
        </message>
        <message>
            <source>Opening the files</source>
            <translation>正在打开文件</translation>
        </message>
        <message>
            <source>Reading the weights</source>
            <translation>正在读取权重</translation>
        </message>
        <message>
            <source>Starting</source>
            <translation>正在启动</translation>
        </message>
        <message>
            <source>{0} s left</source>
            <translation>剩余 {0} 秒</translation>
        </message>
        <message>
            <source>{0}: {1} %</source>
            <translation>{0}：{1} %</translation>
        </message>
        <message>
            <source>Testing these devices, once</source>
            <translation>首次使用这些设备，正在自检</translation>
        </message>
        <message>
            <source>Load again</source>
            <translation>重新加载</translation>
        </message>
        <message>
            <source>Load with context {0}</source>
            <translation>改用 {0} 上下文加载</translation>
        </message>
        <message>
            <source>Load with the CPU's help</source>
            <translation>让 CPU 分担后加载</translation>
        </message>
        <message>
            <source>Load without GPU {0}</source>
            <translation>不用 GPU {0} 加载</translation>
        </message>
        <message>
            <source>Measuring the speed</source>
            <translation>正在测速</translation>
        </message>
    </context>
</TS>
